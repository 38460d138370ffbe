"""The address of an online store: `scheme://user@host:port/path?option=value`, without a password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from asof.errors import ConfigError, did_you_mean

_SECRETS = {"password", "passwd", "pwd", "secret", "token", "sslpassword", "aws_secret_access_key"}


@dataclass(frozen=True)
class StoreUrl:
    """The parts of an address; `name` is how errors tell it, and holds no option and no secret."""

    scheme: str
    user: str | None
    host: str | None
    port: int | None
    path: str
    options: Mapping[str, str]
    root: Path

    @property
    def name(self) -> str:
        """The address as errors tell it."""
        port = "" if self.port is None else f":{self.port}"
        user = "" if self.user is None else f"{self.user}@"
        return f"{self.scheme}://{user}{self.host or ''}{port}/{self.path}"

    @property
    def folder(self) -> Path:
        """The path as a folder: three slashes are relative to the project's folder, four absolute."""
        return self.root / self.path

    def take(self, *allowed: str) -> dict[str, str]:
        """The options.

        Raises:
            ConfigError: one is not among the allowed; carries `option`.
        """
        for option in self.options:
            if option not in allowed:
                raise ConfigError(
                    f"online store {self.name}: there is no option {option!r}",
                    hint=did_you_mean(option, allowed) or "it takes none",
                    option=option,
                )
        return dict(self.options)

    def flag(self, option: str, *, default: bool = False) -> bool:
        """An option that is `true` or `false`."""
        text = self.options.get(option, str(default).lower())
        if text not in {"true", "false"}:
            raise ConfigError(
                f"online store {self.name}: {option}={text!r} is not true or false", option=option
            )
        return text == "true"

    def number(self, option: str, default: int) -> int:
        """An option that is a whole number above zero."""
        text = self.options.get(option, str(default))
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**60:
            raise ConfigError(
                f"online store {self.name}: {option}={text!r} is not a whole number above 0", option=option
            )
        return int(text)


def parse_store_url(text: str, root: Path | None = None) -> StoreUrl:
    """The parts of an address.

    Raises:
        ConfigError: it is no address or holds a password; it is not repeated, since it may be a secret.

    Example:
        >>> url = parse_store_url("redis://app@cache:6380/2?size=8")
        >>> url.host, url.port, url.path, dict(url.options), url.name
        ('cache', 6380, '2', {'size': '8'}, 'redis://app@cache:6380/2')
    """
    hint = (
        "lmdb:///.asof/online, redis://host:6379/0, postgresql://user@host/database, dynamodb://region/table"
    )
    try:
        parts = urlsplit(text)
        port, user, host = parts.port, parts.username, parts.hostname
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigError("online store: this is no address of a store", hint=hint) from None
    if parts.password is not None or _SECRETS & {option.lower() for option in options}:
        raise ConfigError(
            "online store: the address holds a password", hint="set online.password = 'env:NAME'"
        )
    if not parts.scheme or "://" not in text:
        raise ConfigError("online store: this is no address of a store", hint=hint)
    path = unquote(parts.path[1:])
    return StoreUrl(parts.scheme, user and unquote(user), host, port, path, options, root or Path.cwd())
