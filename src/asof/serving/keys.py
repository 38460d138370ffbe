"""Keys that a request has to bring: `Authorization: Bearer KEY`, or `Tecton-key KEY` as the Tecton client writes it."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence

from asof.errors import ConfigError
from asof.serving.failures import HttpError

_SCHEMES = {b"bearer", b"tecton-key"}
_SHORTEST = 16


class Keys:
    """The keys that are let in; without any, everybody is.

    Example:
        >>> Keys(["a-key-of-16-chars"]).check(b"Bearer a-key-of-16-chars")
        >>> Keys([]).check(None)
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, header: bytes | None) -> None:
        """Nothing, when the header's key is one of them. Takes the same time whichever is compared.

        Raises:
            HttpError: unauthorized.
        """
        if not self._keys:
            return
        scheme, _, seen = (header or b"").partition(b" ")
        found = False
        for key in self._keys:
            found |= hmac.compare_digest(key, seen.strip())
        if not found or scheme.lower() not in _SCHEMES:
            raise HttpError(
                "unauthorized",
                "the request brings no key that this server knows",
                hint="send the header Authorization: Bearer KEY",
            )


def parse_keys(text: str) -> tuple[str, ...]:
    """The keys of a secret, one a line or divided by commas.

    Raises:
        ConfigError: there is none, or one is too short to be a secret.
    """
    keys = tuple(part.strip() for part in text.replace(",", "\n").splitlines() if part.strip())
    if not keys or any(len(key) < _SHORTEST or not key.isascii() for key in keys):
        raise ConfigError(
            f"serve.keys: the secret holds no keys, or one of under {_SHORTEST} characters of ASCII",
            hint="make one with: openssl rand -hex 32",
            setting="serve.keys",
        )
    return keys


def check_address(host: str, keys: Sequence[str], *, insecure: bool) -> None:
    """Nothing, when the address may be listened on: loopback, or any with keys, or any when `insecure` is said.

    Raises:
        ConfigError: features would be there for everybody who can reach the machine.
    """
    if keys or insecure or _is_loopback(host):
        return
    raise ConfigError(
        f"listening on {host} without keys would give the features to everybody who can reach it",
        hint="set `serve.keys` in asof.toml, or say --insecure where the network keeps others out",
        setting="serve.keys",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
