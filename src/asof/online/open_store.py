"""The online store at an address: which scheme is which class is the table of entry points `asof.online`.

An entry point is a class, or another callable, that is called with the parsed address and the keywords `password` and
`timeout_s`, and gives an `OnlineStore`. A package of somebody else adds a store by having one.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from asof.errors import ConfigError, did_you_mean
from asof.online.store import OnlineStore
from asof.online.store_url import StoreUrl, parse_store_url

GROUP = "asof.online"
TIMEOUT_S = 0.5


class _Opener(Protocol):
    def __call__(self, url: StoreUrl, *, password: str | None, timeout_s: float) -> OnlineStore: ...


def open_store(
    url: str, *, password: str | None = None, timeout_s: float = TIMEOUT_S, root: Path | None = None
) -> OnlineStore:
    """The store at an address.

    Args:
        url: such as `lmdb:///.asof/online`; a relative path starts at `root`.
        password: what the server asks for; it is never in the address and never shown.
        timeout_s: how long one read may take, retries included.
        root: the project's folder, else the working one.

    Raises:
        ConfigError: no address, or a scheme without a store; the hint names those that there are.
        MissingExtra: the store's library is not installed.
        BackendError: an embedded store cannot be opened; others connect when they are first used.

    Example:
        >>> import tempfile
        >>> store = open_store("lmdb:///online", root=Path(tempfile.mkdtemp()))
        >>> store.write("v1", [(b"ann", b"1")]), store.get([("v1", [b"ann", b"bob"])])
        (1, [b'1', None])
        >>> store.close()
    """
    parsed = parse_store_url(url, root)
    found = {each.name: each for each in entry_points(group=GROUP)}
    if parsed.scheme not in found:
        raise ConfigError(
            f"online store: no store has the scheme {parsed.scheme!r}",
            hint=did_you_mean(parsed.scheme, found),
            scheme=parsed.scheme,
        )
    opener = cast("_Opener", found[parsed.scheme].load())
    return opener(parsed, password=password, timeout_s=timeout_s)
