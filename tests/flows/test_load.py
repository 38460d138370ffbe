"""Loading projects: every load is fresh, projects do not mix, neighbours may import each other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import asof
from asof.errors import ConfigError, ProjectNotFound

SHARED = "WINDOW = {window!r}\n"
DEFINITIONS = """
import asof
from shared import WINDOW

account = asof.Entity("account", keys={"account_id": "string"})
tx = asof.Events("tx", asof.Parquet("tx.parquet"), event_time="at")
view = asof.FeatureView("view", entity=account, source=tx, features=[asof.count().over(WINDOW)])
"""


def _project(folder: Path, window: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "asof.toml").write_text('name = "p"\n')
    (folder / "shared.py").write_text(SHARED.format(window=window))
    (folder / "definitions.py").write_text(DEFINITIONS)
    return folder


def _names(folder: Path) -> tuple[str, ...]:
    return asof.open(folder).definitions.get("feature_view", "view").names  # type: ignore[union-attr]


def test_each_project_gets_its_own_modules_and_a_reload_sees_changes(tmp_path: Path) -> None:
    assert _names(_project(tmp_path / "one", "1d")) == ("count_1d",)
    assert _names(_project(tmp_path / "two", "2d")) == ("count_2d",)
    assert _names(_project(tmp_path / "one", "31d")) == ("count_31d",)
    assert "shared" not in sys.modules
    assert "definitions" not in sys.modules


def test_a_file_that_a_neighbour_imports_is_run_once(tmp_path: Path) -> None:
    folder = _project(tmp_path / "p", "1d")
    (folder / "features").mkdir()
    (folder / "features/a.py").write_text("from features.b import *\n")
    (folder / "features/b.py").write_text(
        "from asof import request_feature\n\n"
        "@request_feature(request={'x': 'float64'})\ndef big(x):\n    return x > 1\n"
    )
    found = asof.open(folder).definitions.list("request_feature")
    assert [feature.name for feature in found] == ["big"]  # type: ignore[union-attr]


def test_a_folder_without_a_project_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ProjectNotFound, match=r"asof\.toml"):
        asof.open(tmp_path)


def test_an_edit_of_equal_size_within_a_second_is_seen(tmp_path: Path) -> None:
    assert _names(_project(tmp_path / "p", "1d")) == ("count_1d",)
    assert _names(_project(tmp_path / "p", "2d")) == ("count_2d",)


@pytest.mark.parametrize(
    "setting", ["", 'definitions = ["feature/*.py"]', 'definitions = ["definitions.py", "x.py"]']
)
def test_a_pattern_without_a_file_is_refused_and_does_not_read_as_nothing(
    tmp_path: Path, setting: str
) -> None:
    (tmp_path / "asof.toml").write_text(setting)
    if setting:
        (tmp_path / "definitions.py").write_text("")
    with pytest.raises(ConfigError, match="definitions: no file matches"):
        asof.open(tmp_path)
