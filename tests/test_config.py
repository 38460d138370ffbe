from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from asof.config import Config, SecretRef, load_config
from asof.errors import ConfigError, ProjectNotFound
from asof.settings import KINDS, SETTINGS, machine_memory_bytes, parse_size, usable_cores

SETTINGS_PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"


def project(folder: Path, text: str = "") -> Path:
    (folder / "asof.toml").write_text(text)
    return folder


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    folder = tmp_path / "ACH return-risk 2"
    folder.mkdir()
    assert load_config(project(folder), {}) == Config(
        root=folder,
        name="ach_return_risk_2",
        definitions=("definitions.py", "features/*.py"),
        memory_limit_bytes=machine_memory_bytes() * 7 // 10,
        threads=usable_cores(),
        spill_dir=folder / ".asof" / "spill",
        usage_dir=folder / ".asof" / "usage",
        registry=f"sqlite:///{folder}/.asof/registry.sqlite",
        registry_password=None,
        online_store=f"lmdb:///{folder}/.asof/online",
        online_password=None,
        online_timeout_us=500_000,
        online_ttl_us=None,
        online_history_us=3_600_000_000,
        online_lateness_us=3_600_000_000,
        stream_folder=folder / ".asof" / "streams",
        stream_landing=folder / ".asof" / "landed",
        stream_land_every_us=10_000_000,
        stream_ahead_us=3_600_000_000,
        environment="prod",
        user=None,
        abandoned_after_us=30 * 86_400 * 1_000_000,
        openlineage_url=None,
        openlineage_api_key=None,
        openlineage_file=None,
        serve_keys=None,
        log_level="warning",
    )


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    text = """
        name = "risk"
        definitions = ["a.py", "b/*.py"]
        memory_limit = "8GB"
        threads = 2
        spill_dir = "/scratch/asof"
        log_level = "info"
    """
    config = load_config(
        project(tmp_path, text), {"ASOF_THREADS": "3", "ASOF_DEFINITIONS": "c.py, d.py", "HOME": "/"}
    )
    assert (config.name, config.definitions) == ("risk", ("c.py", "d.py"))
    assert (config.memory_limit_bytes, config.threads) == (8_000_000_000, 3)
    assert (config.spill_dir, config.log_level) == (Path("/scratch/asof"), "info")


def test_the_environment_speaks_in_text(tmp_path: Path) -> None:
    environ = {"ASOF_MEMORY_LIMIT": "1000000000", "ASOF_LOG_LEVEL": "DEBUG", "ASOF_USAGE_DIR": "receipts"}
    config = load_config(project(tmp_path), environ)
    assert (config.memory_limit_bytes, config.log_level) == (1_000_000_000, "debug")
    assert config.usage_dir == tmp_path / "receipts"


def test_the_online_store_is_a_folder_of_the_project_or_a_server(tmp_path: Path) -> None:
    text = "[online]\nstore = 'lmdb:///state/online'\ntimeout = '80ms'\nttl = '30d'\npassword = 'env:CACHE'"
    config = load_config(project(tmp_path, text), {})
    assert config.online_store == f"lmdb:///{tmp_path}/state/online"
    assert (config.online_timeout_us, config.online_ttl_us) == (80_000, 30 * 86_400 * 1_000_000)
    assert config.online_password == "env:CACHE"  # noqa: S105 - a reference
    by_variable = load_config(tmp_path, {"ASOF_ONLINE_STORE": "redis+cluster://cache:6379"})
    assert by_variable.online_store == "redis+cluster://cache:6379"
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, {"ASOF_ONLINE_STORE": "redis://:hunter2@cache:6379"})
    assert "hunter2" not in str(caught.value)


def test_a_config_is_frozen(tmp_path: Path) -> None:
    config = load_config(project(tmp_path), {})
    with pytest.raises(FrozenInstanceError):
        config.threads = 4  # type: ignore[misc]


def test_a_folder_without_the_file_is_no_project(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ProjectNotFound, match=r"no asof\.toml in") as caught:
            load_config(folder, {})
        assert caught.value.facts == {"path": str(folder)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('memory_limt = "8GB"', r"there is no setting 'memory_limt'\nhint: .*memory_limit"),
        ("[project]\nname = 'x'", r"there is no setting 'project\.name'\nhint: .*name"),
        ("[project]", r"there is no setting 'project'"),
        ("name = ", r"asof\.toml: is not TOML"),
        ("name = 'Risk Models'", r"name = 'Risk Models' is not a name"),
        ("name = 7", r"name = 7 is not a name"),
        ("definitions = 'a.py'", r"definitions = 'a\.py' is not a list"),
        ("definitions = []", r"definitions = \[\] is not a list"),
        ("definitions = [7]", r"definitions = \[7\] is not a list"),
        ("memory_limit = '8 gigs'", r"memory_limit = '8 gigs' is not a size"),
        ("memory_limit = '1KB'", r"is not a size of at least 64MB"),
        ("memory_limit = -1", r"memory_limit = -1 is not a size"),
        ("memory_limit = true", r"memory_limit = True is not a size"),
        ("threads = 0", r"threads = 0 is not a whole number from 1"),
        ("threads = '4'", r"threads = '4' is not a whole number"),
        ("threads = true", r"threads = True is not a whole number"),
        ("threads = 1.5", r"threads = 1\.5 is not a whole number"),
        ("spill_dir = ''", r"spill_dir = '' is not a path"),
        ("log_level = 'loud'", r"log_level = 'loud' is not one of debug, info, warning, error"),
        ("log_level = ['info']", r"is not one of debug"),
    ],
)
def test_a_wrong_file_says_which_setting_what_was_seen_and_what_is_allowed(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(project(tmp_path, text), {})
    assert re.search(told, str(caught.value))
    assert "asof.toml" in str(caught.value.facts["origin"])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ASOF_THREADS", "many", "ASOF_THREADS = 'many' is not a whole number"),
        ("ASOF_THREADS", "-1", "ASOF_THREADS = '-1' is not a whole number"),
        ("ASOF_DEFINITIONS", " , ", "ASOF_DEFINITIONS = ' , ' is not a list"),
        (
            "ASOF_MEMORY_LIMT",
            "8GB",
            "there is no setting ASOF_MEMORY_LIMT\nhint: did you mean ASOF_MEMORY_LIMIT?",
        ),
        ("ASOF_THREAD", "4", "did you mean ASOF_THREADS?"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(tmp_path: Path, name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(project(tmp_path), {name: value})
    assert told in str(caught.value)
    assert caught.value.facts["origin"] == "environment"


def test_variables_that_only_begin_alike_are_not_ours(tmp_path: Path) -> None:
    environ = {
        "ASOF_SERVICE_HOST": "10.0.0.1",
        "ASOF_PORT": "tcp://10.0.0.1:80",
        "ASOF_REQUIRE_SERVICES": "1",
    }
    assert load_config(project(tmp_path), environ) == load_config(tmp_path, {})


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "asof.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("8GB", 8_000_000_000),
        ("8gb", 8_000_000_000),
        ("8 GiB", 8_589_934_592),
        ("1.5GB", 1_500_000_000),
        ("512MB", 512_000_000),
        ("64KB", 64_000),
        ("2TB", 2_000_000_000_000),
        ("77B", 77),
        ("77", 77),
    ],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-8GB", "8PB", "8GiBs", "1e9", "8,5GB", "9" * 50])
def test_a_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_a_secret_is_read_when_asked_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    by_file, by_env = SecretRef.parse(f"file:{tmp_path}/token"), SecretRef.parse("env:TOKEN")
    assert by_file.resolve() == by_env.resolve({"TOKEN": "hunter2"}) == "hunter2"
    assert "hunter2" not in repr((by_file, by_env)) + str(by_file) + str(by_env)
    assert repr(by_env) == "SecretRef('env:TOKEN')"


def test_a_secret_that_is_not_there_is_told_by_its_place(tmp_path: Path) -> None:
    for text in ("env:TOKEN", f"file:{tmp_path}/token"):
        with pytest.raises(ConfigError, match="nothing is there") as caught:
            SecretRef.parse(text).resolve({})
        assert caught.value.facts == {"reference": text}


@pytest.mark.parametrize("text", ["hunter2", "vault:hunter2", "env:", ""])
def test_a_secret_written_as_itself_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SecretRef.parse(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.facts == {}


def test_the_table_and_the_config_name_the_same_fields() -> None:
    assert ["root", *(setting.field for setting in SETTINGS)] == [each.name for each in fields(Config)]
    assert {setting.kind for setting in SETTINGS} == set(KINDS)
    assert len({setting.env for setting in SETTINGS}) == len(SETTINGS)


def test_the_settings_page_tells_each_setting_as_the_table_does() -> None:
    page = SETTINGS_PAGE.read_text()
    for setting in SETTINGS:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{setting.key}` |")]
        for text in (setting.env, setting.default_text, setting.doc, KINDS[setting.kind].allowed):
            assert text in row
