"""The seam of online stores: records as bytes, under a namespace (one version of a view) and an entity key.

A store knows nothing about features: `codec.py` gives records their meaning. Every store passes one contract suite,
`asof.testing.online`. Which stores there are is the table of entry points `asof.online` in pyproject.toml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Item = tuple[bytes, bytes]
"""An entity key and its record."""

Swap = tuple[bytes, bytes | None, bytes | None]
"""An entity key, the record that has to be there (None: none), and the one that takes its place (None: none)."""

Wanted = Sequence[tuple[str, Sequence[bytes]]]
"""What a read asks for: namespaces, each with entity keys."""


@dataclass(frozen=True)
class Capabilities:
    """What a store can do, as data.

    Args:
        embedded: it lives in the process and a read costs microseconds, so that it may run in an event loop.
        expires: a written record can be given a time to live.
        max_record_bytes: the largest record that it takes, None without limit.
    """

    embedded: bool
    expires: bool
    max_record_bytes: int | None


class OnlineStore(Protocol):
    """Records by namespace and entity key; every method is safe to call from several threads and processes.

    Keys are at most `MAX_KEY_BYTES` long. All methods raise `BackendError` (`retryable` where the same call may
    succeed later) within the store's deadline, whatever the driver does.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the store can do."""
        ...

    def get(self, wanted: Wanted) -> list[bytes | None]:
        """The records in the order of what is wanted, flat; None where there is none. One round trip where the store
        can.
        """
        ...

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        """Puts records, replacing those of the same key, and gives their number; each is whole or not there, and all
        are durable when it returns (as far as the store promises any). Writing the same again changes nothing.
        """
        ...

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        """Puts each record in the place of the very bytes that are expected there; False where something else is (it
        stays). Compared and put in one, so that of two who expect the same only one succeeds; durable as `write` is. A
        key may be there once. Where an answer was lost, what is there already counts as put.
        """
        ...

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        """Removes records, and gives how many keys were asked for; one that is not there is no error."""
        ...

    def scan(self, namespace: str) -> Iterator[Item]:
        """All records of a namespace, in any order, each once; sees at least what was there when it began and
        stayed.
        """
        ...

    def drop(self, namespace: str) -> None:
        """Removes a namespace with everything in it; one that is not there is no error."""
        ...

    def close(self) -> None:
        """Lets go of connections and files; closing twice is no error."""
        ...


MAX_KEY_BYTES = 256
META_KEY = b"\x00meta"
"""The key under which a namespace keeps what holds for all its records; entity keys never begin with a zero byte."""
