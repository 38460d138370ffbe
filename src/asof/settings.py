"""The table of settings, and the forms that their values may have.

`SETTINGS` is the one table: its rows are the keys of `asof.toml`, the `ASOF_...` variables, the fields of
`asof.config.Config` and the page docs/reference/settings.md. A new setting is a row here and a field there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from asof.clock import parse_duration

PREFIX = "ASOF_"
DEFINITIONS = ("definitions.py", "features/*.py")
ENVIRONMENT = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LOG_LEVELS = ("debug", "info", "warning", "error")

_UNITS_BYTES = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1_000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1_024**power for power, letter in enumerate("KMGT", 1)},
}


@dataclass(frozen=True)
class Setting:
    """One row of the table: a key of `asof.toml`, what it may be, what it is when unsaid, and what it means."""

    key: str
    field: str
    kind: str
    default: Callable[[Path], object]
    default_text: str
    doc: str

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.upper().replace(".", "_")


def parse_size(text: str) -> int:
    """The number of bytes that a text names: `8GB` (powers of 1,000), `8GiB` (powers of 1,024), `1.5 GB`,
    `4096`.

    Raises:
        ValueError: it names none.

    Example:
        >>> parse_size("8GB"), parse_size("1.5 GiB"), parse_size("4096")
        (8000000000, 1610612736, 4096)
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Z]{0,3})", text.strip().upper())
    if found is None or found[2] not in _UNITS_BYTES:
        raise ValueError(text)
    return round(float(found[1]) * _UNITS_BYTES[found[2]])


def machine_memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its control group's limit where that is lower."""
    limits = [_physical_memory_bytes()]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not Linux, not in a control group, or the word "max"
            continue
    return min(limits)


def usable_cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX: a small guess beats a large one
        return 4 * 1_024**3


@dataclass(frozen=True)
class Kind:
    """One form of value: how it is told, what a variable's text stands for, and the check that gives it its
    type.
    """

    allowed: str
    check: Callable[[object, Path], object]
    from_text: Callable[[str], object] = str


def _number_or_text(text: str) -> object:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text.strip()) else text


def _listed(text: str) -> object:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_name(value: object, _root: Path) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[a-z][a-z0-9_]*", value) is None:
        raise ValueError(value)
    return value


def _check_globs(value: object, _root: Path) -> tuple[str, ...]:
    globs = cast("list[object]", value) if isinstance(value, list) else []
    if not globs or not all(isinstance(glob, str) and glob for glob in globs):
        raise ValueError(value)
    return tuple(cast("list[str]", globs))


def _check_size(value: object, _root: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(value)
    size_bytes = parse_size(value) if isinstance(value, str) else value
    if size_bytes < 64 * 1_000**2:
        raise ValueError(value)
    return size_bytes


def _check_count(value: object, _root: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4_096:
        raise ValueError(value)
    return value


def _check_path(value: object, root: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return root / Path(value).expanduser()


def _check_environment(value: object, _root: Path) -> str:
    if not isinstance(value, str) or ENVIRONMENT.fullmatch(value) is None:
        raise ValueError(value)
    return value


def _check_url(value: object, root: Path) -> str:
    if not isinstance(value, str) or "://" not in value or _holds_password(value):
        raise ValueError
    scheme, _, rest = value.partition("://")
    if scheme in {"sqlite", "lmdb"} and rest.startswith("/") and not rest.startswith("//"):
        return f"{scheme}:///{root / rest[1:]}"  # a relative path starts at the project's folder
    return value


def _holds_password(url: str) -> bool:
    user, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    return bool(at) and ":" in user


def _check_secret(value: object, _root: Path) -> str:
    if not isinstance(value, str) or re.fullmatch(r"(env|file):.+", value) is None:
        raise ValueError
    return value


def _check_duration(value: object, _root: Path) -> int:
    if not isinstance(value, str):
        raise TypeError(value)
    return parse_duration(value)


def _check_text(value: object, _root: Path) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 128 or not value.isprintable():
        raise ValueError(value)
    return value


def _check_level(value: object, _root: Path) -> str:
    if value not in LOG_LEVELS:
        raise ValueError(value)
    return str(value)


KINDS = {
    "name": Kind("a name: lower-case letters, digits and _, a letter first", _check_name),
    "globs": Kind("a list of paths or globs below the project's folder", _check_globs, _listed),
    "size": Kind("a size of at least 64MB, such as '8GB' or '512MiB'", _check_size, _number_or_text),
    "count": Kind("a whole number from 1 to 4096", _check_count, _number_or_text),
    "path": Kind("a path, absolute or below the project's folder", _check_path),
    "environment": Kind("a name: lower-case letters, digits, _ and -, a letter first", _check_environment),
    "url": Kind(
        "a URL without a password, such as sqlite:///path or postgresql://user@host/database", _check_url
    ),
    "secret": Kind("a reference such as env:NAME or file:PATH", _check_secret),
    "text": Kind("a text of 1 to 128 printable characters", _check_text),
    "duration": Kind("a duration such as '30d'", _check_duration),
    "level": Kind(f"one of {', '.join(LOG_LEVELS)}", _check_level, str.lower),
}


def _folder_name(root: Path) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", root.name.lower()).strip("_")
    return name if name[:1].isalpha() else f"project_{name}".rstrip("_")


SETTINGS = (
    Setting("name", "name", "name", _folder_name, "the folder's name", "What the project is called."),
    Setting(
        "definitions",
        "definitions",
        "globs",
        lambda _: DEFINITIONS,
        '["definitions.py", "features/*.py"]',
        "The Python files that hold the definitions; read in this order, those of one glob by name.",
    ),
    Setting(
        "memory_limit",
        "memory_limit_bytes",
        "size",
        lambda _: machine_memory_bytes() * 7 // 10,
        "70 % of the memory that the machine or container allows",
        "How much memory a flow may use; what does not fit goes to `spill_dir`.",
    ),
    Setting(
        "threads",
        "threads",
        "count",
        lambda _: usable_cores(),
        "the cores that the process may use",
        "How many cores a flow may use.",
    ),
    Setting(
        "spill_dir",
        "spill_dir",
        "path",
        lambda root: root / ".asof" / "spill",
        ".asof/spill",
        "Where a flow puts what does not fit into memory; emptied when the flow ends.",
    ),
    Setting(
        "usage_dir",
        "usage_dir",
        "path",
        lambda root: root / ".asof" / "usage",
        ".asof/usage",
        "Where the ledger of receipts is kept: one file of JSON lines for each day.",
    ),
    Setting(
        "registry",
        "registry",
        "url",
        lambda root: f"sqlite:///{root / '.asof' / 'registry.sqlite'}",
        "sqlite:///.asof/registry.sqlite",
        "Where what has been applied is kept: a SQLite file of the project, or a PostgreSQL server of the team. A"
        " password never stands in the URL.",
    ),
    Setting(
        "registry_password",
        "registry_password",
        "secret",
        lambda _: None,
        "none: PostgreSQL's own ways, such as `PGPASSWORD` or `~/.pgpass`",
        "Where the password of the registry's database is.",
    ),
    Setting(
        "online.store",
        "online_store",
        "url",
        lambda root: f"lmdb:///{root / '.asof' / 'online'}",
        "lmdb:///.asof/online",
        "Where the newest records for serving are kept: a folder of the project, or a server. A password never stands"
        " in the URL.",
    ),
    Setting(
        "online.password",
        "online_password",
        "secret",
        lambda _: None,
        "none: the store's own ways",
        "Where the password of the online store is.",
    ),
    Setting(
        "online.timeout",
        "online_timeout_us",
        "duration",
        lambda _: parse_duration("500ms"),
        "500ms",
        "How long one read of the online store may take, retries included; one step of a write may take 20 times as"
        " long.",
    ),
    Setting(
        "online.ttl",
        "online_ttl_us",
        "duration",
        lambda _: None,
        "none: records stay until they are replaced or dropped",
        "How long a record lives after its last write, in stores that can forget (Redis, DynamoDB).",
    ),
    Setting(
        "online.history",
        "online_history_us",
        "duration",
        lambda _: parse_duration("1h"),
        "1h",
        "How far before the watermark records still answer: a read as of an older instant is refused.",
    ),
    Setting(
        "online.lateness",
        "online_lateness_us",
        "duration",
        lambda _: parse_duration("1h"),
        "1h",
        "How late a row may arrive in its source: `asof materialize` reads again from so long before the watermark.",
    ),
    Setting(
        "stream.folder",
        "stream_folder",
        "path",
        lambda root: root / ".asof" / "streams",
        ".asof/streams",
        "Where the embedded logs of streams are, and the dead letters beside them.",
    ),
    Setting(
        "stream.landing",
        "stream_landing",
        "path",
        lambda root: root / ".asof" / "landed",
        ".asof/landed",
        "Where workers land the events of streams, as a part of their sources' history.",
    ),
    Setting(
        "stream.land_every",
        "stream_land_every_us",
        "duration",
        lambda _: parse_duration("10s"),
        "10s",
        "How long at most an event that is in the records waits to be landed; a worker that stops lands at once.",
    ),
    Setting(
        "stream.ahead",
        "stream_ahead_us",
        "duration",
        lambda _: parse_duration("1h"),
        "1h",
        "How far the time of an event may lie after the time at which it was taken; beyond that it is a dead letter.",
    ),
    Setting(
        "environment",
        "environment",
        "environment",
        lambda _: "prod",
        "prod",
        "The environment that commands mean when they are not told another by `--env`.",
    ),
    Setting(
        "user",
        "user",
        "text",
        lambda _: None,
        "`GITHUB_ACTOR` or `GITLAB_USER_LOGIN`, else the login name",
        "Who the history says has made a change.",
    ),
    Setting(
        "abandoned_after",
        "abandoned_after_us",
        "duration",
        lambda _: parse_duration("30d"),
        "30d",
        "How long an environment may go without a change before it is listed as abandoned.",
    ),
    Setting(
        "openlineage.url",
        "openlineage_url",
        "url",
        lambda _: None,
        "none: off",
        "Where lineage events go over HTTP after an apply (needs the `openlineage` extra).",
    ),
    Setting(
        "openlineage.api_key",
        "openlineage_api_key",
        "secret",
        lambda _: None,
        "none",
        "Where the key is that the receiver of lineage events asks for.",
    ),
    Setting(
        "openlineage.file",
        "openlineage_file",
        "path",
        lambda _: None,
        "none: off",
        "A file to which lineage events are appended after an apply (needs the `openlineage` extra).",
    ),
    Setting(
        "serve.keys",
        "serve_keys",
        "secret",
        lambda _: None,
        "none: everybody who reaches the server is let in",
        "Where the keys are that `asof serve` asks for, one a line.",
    ),
    Setting(
        "log_level",
        "log_level",
        "level",
        lambda _: "warning",
        "warning",
        "How much the command line tells of what it does, on stderr.",
    ),
)
