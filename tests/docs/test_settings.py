"""docs/reference/settings.md: the table is complete (tests/test_config.py compares its rows), the example loads."""

from __future__ import annotations

from asof.config import load_config
from asof.settings import SETTINGS, parse_size
from tests.docs.pages import REFERENCE, code, prose, run_page, table

PAGE = REFERENCE / "settings.md"


def test_the_table_has_every_setting_and_no_other():
    rows = table(PAGE, "key")
    assert [code(row["key"]) for row in rows] == [[setting.key] for setting in SETTINGS]
    assert [code(row["variable"]) for row in rows] == [[setting.env] for setting in SETTINGS]


def test_the_example_is_a_project(tmp_path):
    run_page(PAGE, tmp_path)
    config = load_config(tmp_path, {})
    assert (config.name, config.memory_limit_bytes, config.threads) == ("ach_risk", parse_size("8GB"), 4)


def test_a_list_in_a_variable_is_written_as_the_page_says(tmp_path):
    (tmp_path / "asof.toml").write_text("")
    (said,) = [text for text in code(prose(PAGE)) if text.startswith("ASOF_DEFINITIONS=")]
    value = said.partition("=")[2].strip('"')
    assert load_config(tmp_path, {"ASOF_DEFINITIONS": value}).definitions == (
        "definitions.py",
        "features/*.py",
    )
