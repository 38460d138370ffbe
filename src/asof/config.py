"""Settings: `asof.toml` and the environment become one frozen `Config`.

Which settings there are is the table in `asof.settings`; a variable of the environment wins over the file. A
secret never stands in the file: a `SecretRef` names where it is, and it is read when it is used.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from asof.errors import ConfigError, ProjectNotFound, did_you_mean
from asof.settings import KINDS, PREFIX, SETTINGS, Setting

FILE = "asof.toml"


@dataclass(frozen=True)
class Config:
    """The settings of one project, complete and checked; paths are absolute."""

    root: Path
    name: str
    definitions: tuple[str, ...]
    memory_limit_bytes: int
    threads: int
    spill_dir: Path
    usage_dir: Path
    registry: str
    registry_password: str | None
    online_store: str
    online_password: str | None
    online_timeout_us: int
    online_ttl_us: int | None
    online_history_us: int
    online_lateness_us: int
    stream_folder: Path
    stream_landing: Path
    stream_land_every_us: int
    stream_ahead_us: int
    environment: str
    user: str | None
    abandoned_after_us: int
    openlineage_url: str | None
    openlineage_api_key: str | None
    openlineage_file: Path | None
    serve_keys: str | None
    log_level: str


@dataclass(frozen=True)
class SecretRef:
    """Where a secret is, not what it is: `env:NAME` or `file:PATH`. Printing one shows the place only.

    Example:
        >>> ref = SecretRef.parse("env:WAREHOUSE_PASSWORD")
        >>> ref, ref.resolve({"WAREHOUSE_PASSWORD": "hunter2"})
        (SecretRef('env:WAREHOUSE_PASSWORD'), 'hunter2')
    """

    scheme: str
    place: str

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """The reference that a text writes.

        Raises:
            ConfigError: the text is no reference; it is not repeated, since it may be the secret itself.
        """
        scheme, _, place = text.partition(":")
        if scheme not in {"env", "file"} or not place:
            raise ConfigError(
                "a secret is written as a reference, not as itself",
                hint="env:NAME takes it from a variable, file:PATH from a file",
            )
        return cls(scheme, place)

    def resolve(self, environ: Mapping[str, str] | None = None) -> str:
        """The secret, read now; a file's trailing newline is no part of it.

        Raises:
            ConfigError: there is no such variable or file; carries `reference`.
        """
        try:
            if self.scheme == "env":
                return (os.environ if environ is None else environ)[self.place]
            return Path(self.place).read_text(encoding="utf-8").rstrip("\r\n")
        except (KeyError, OSError) as exc:
            raise ConfigError(f"secret {self}: nothing is there", reference=str(self)) from exc

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}"

    def __repr__(self) -> str:
        return f"SecretRef({str(self)!r})"


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """The settings of the project in the folder `path`: its `asof.toml`, overruled by the `ASOF_...`
    variables.

    Raises:
        ProjectNotFound: the folder has no `asof.toml`; carries `path`.
        ConfigError: a setting is unknown, or of the wrong form; carries `setting`, `seen`, `origin`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "asof.toml").write_text('name = "risk"')
        >>> config = load_config(folder, {"ASOF_MEMORY_LIMIT": "8GB"})
        >>> config.name, config.memory_limit_bytes
        ('risk', 8000000000)
    """
    root = path.resolve()
    known = {setting.key: setting for setting in SETTINGS}
    written = _read(root / FILE)
    for key in written:
        if key not in known:
            raise ConfigError(
                f"{FILE}: there is no setting {key!r}",
                hint=did_you_mean(key, known) or f"settings are {', '.join(known)}",
                setting=key,
                origin=FILE,
            )
    _check_environment(environ)
    fields: dict[str, Any] = {s.field: _value(s, root, written, environ) for s in SETTINGS}
    return Config(root, **fields)


def _read(file: Path) -> dict[str, object]:
    """The keys and values of the file; a key in a table is `table.key`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise ProjectNotFound(
            f"no {FILE} in {file.parent}",
            hint=f'name the project\'s folder, or write its {FILE}: name = "my_project"',
            path=str(file.parent),
        ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file}: cannot be read: {exc}", origin=str(file)) from exc
    try:
        return _flat(tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{file}: is not TOML: {exc}", origin=str(file)) from exc


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            flat |= _flat(cast("dict[str, object]", value), f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _check_environment(environ: Mapping[str, str]) -> None:
    """Refuses a variable that is a setting misspelt; others that begin alike (a container's service links)
    may be.
    """
    known = [setting.env for setting in SETTINGS]
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            stems = [env.removeprefix(PREFIX) for env in known]
            near = difflib.get_close_matches(name.removeprefix(PREFIX), stems, n=1, cutoff=0.8)
            if near:
                raise ConfigError(
                    f"environment: there is no setting {name}",
                    hint=f"did you mean {PREFIX}{near[0]}?",
                    setting=name,
                    origin="environment",
                )


def _value(setting: Setting, root: Path, written: Mapping[str, object], environ: Mapping[str, str]) -> object:
    kind = KINDS[setting.kind]
    if setting.env in environ:
        origin, name, seen = "environment", setting.env, environ[setting.env]
        value = kind.from_text(seen)
    elif setting.key in written:
        origin, name, value = FILE, setting.key, written[setting.key]
        seen = value
    else:
        return setting.default(root)
    try:
        return kind.check(value, root)
    except (ValueError, TypeError) as exc:
        if setting.kind in {"secret", "url"}:  # whoever wrote the secret itself should not find it in a log
            raise ConfigError(
                f"{origin}: {name} is not {kind.allowed}", setting=setting.key, origin=origin
            ) from None
        raise ConfigError(
            f"{origin}: {name} = {seen!r} is not {kind.allowed}",
            setting=setting.key,
            seen=repr(seen),
            origin=origin,
        ) from exc
