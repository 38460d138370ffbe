"""The embedded store: an LMDB environment in a folder. Many processes read while one writes; no server, no copy.

A record's key is 12 bytes for the namespace and then the entity key. A batch of a write is one transaction: it is there
as a whole, on disk, or not at all, whatever happens to the process. Reads take no lock and see one instant.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import lmdb

from asof.errors import BackendError
from asof.online.batches import batches_of, groups_of
from asof.online.lmdb_environment import SharedEnvironment, share_environment
from asof.online.retry import STEP_FACTOR, Deadline
from asof.online.store import Capabilities, Item, Swap, Wanted
from asof.online.store_url import StoreUrl
from asof.online.swaps import swap_batches

_CAPABILITIES = Capabilities(embedded=True, expires=False, max_record_bytes=2**31 - 1)
_WRITE_ITEMS = 10_000
_WRITE_BYTES = 2**24
_SCAN_ITEMS = 1_000
_FIRST_KEY = itemgetter(0)


class Prefixes(dict[str, bytes]):
    """The 12 bytes of each namespace: its own where it is `v` and 24 hexadecimal digits, else a digest.

    Example:
        >>> Prefixes()["v000102030405060708090a0b"].hex(), len(Prefixes()["other"])
        ('000102030405060708090a0b', 12)
    """

    def __missing__(self, namespace: str) -> bytes:
        if re.fullmatch(r"v[0-9a-f]{24}", namespace):
            prefix = bytes.fromhex(namespace[1:])
        else:
            prefix = hashlib.blake2b(namespace.encode(), digest_size=12).digest()
        self[namespace] = prefix
        return prefix


class LmdbStore:
    """Records in a folder, `lmdb:///path`; option `map_bytes`: the address space to begin with (it grows by itself)."""

    def __init__(self, url: StoreUrl, *, password: str | None = None, timeout_s: float = 0.5) -> None:
        del password  # files have none
        url.take("map_bytes")
        self._name = url.name
        self._timeout_s = timeout_s
        self._prefixes = Prefixes()
        self._closed = False
        self._shared = share_environment(url.folder, url.name, url.number("map_bytes", 2**30))

    @property
    def capabilities(self) -> Capabilities:
        """Embedded; records do not expire."""
        return _CAPABILITIES

    def get(self, wanted: Wanted) -> list[bytes | None]:
        """The records in the order of what is wanted, from one instant; bench: `bench/online.py`."""
        shared, prefixes, failure = self._shared, self._prefixes, None
        shared.active.append(None)
        try:
            if (env := shared.env) is not None and not self._closed:
                with env.begin() as txn:
                    find = txn.get
                    return [find(prefixes[namespace] + key) for namespace, keys in wanted for key in keys]
        except lmdb.Error as error:
            failure = error
        finally:
            shared.active.pop()
        return self._get_slowly(wanted, failure)

    def _get_slowly(self, wanted: Wanted, failure: lmdb.Error | None) -> list[bytes | None]:
        deadline = Deadline(self._timeout_s)
        shared, prefixes = self._shared, self._prefixes
        while True:
            self._recover(failure, deadline)
            failure = None
            shared.active.append(None)
            try:
                if (env := shared.env) is not None:
                    with env.begin() as txn:
                        return [txn.get(prefixes[name] + key) for name, keys in wanted for key in keys]
            except lmdb.Error as error:
                failure = error
            finally:
                shared.active.pop()

    def write(self, namespace: str, items: Iterable[Item], *, ttl_s: int | None = None) -> int:
        """Puts records, in transactions of up to 10,000 records or 16 MiB, each on disk when it ends."""
        shared = self._usable()
        self._refuse(ttl_s)
        prefix, count = self._prefixes[namespace], 0
        for batch in batches_of(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            rows = sorted(((prefix + key, record) for key, record in batch), key=_FIRST_KEY)
            shared.change(rows, (), self._step())
            count += len(rows)
        return count

    def swap(self, namespace: str, items: Sequence[Swap], *, ttl_s: int | None = None) -> list[bool]:
        """Puts each record in the place of the one that is expected, in transactions like those of a write."""
        shared = self._usable()
        self._refuse(ttl_s)
        prefix, made = self._prefixes[namespace], list[bool]()
        for batch in swap_batches(
            items,
            max_items=_WRITE_ITEMS,
            max_bytes=_WRITE_BYTES,
            max_record_bytes=_CAPABILITIES.max_record_bytes,
            store=self._name,
        ):
            rows = [(prefix + key, expected, record) for key, expected, record in batch]
            places = sorted(range(len(rows)), key=[key for key, _, _ in rows].__getitem__)
            answers = [False] * len(rows)
            swapped = shared.swap([rows[place] for place in places], self._step())
            for place, answer in zip(places, swapped, strict=True):
                answers[place] = answer
            made += answers
        return made

    def _refuse(self, ttl_s: int | None) -> None:
        if ttl_s is not None:
            raise BackendError(f"online store {self._name}: records cannot be given a time to live")

    def delete(self, namespace: str, keys: Iterable[bytes]) -> int:
        """Removes records."""
        shared = self._usable()
        prefix, count = self._prefixes[namespace], 0
        for group in groups_of(keys, _WRITE_ITEMS):
            shared.change((), [prefix + key for key in group], self._step())
            count += len(group)
        return count

    def scan(self, namespace: str) -> Iterator[Item]:
        """All records of a namespace in the order of their keys; no transaction is open while the caller works."""
        prefix, after = self._prefixes[namespace], b""
        while True:
            page = self._page(prefix, after, _SCAN_ITEMS)
            yield from page
            if len(page) < _SCAN_ITEMS:
                return
            after = page[-1][0] + b"\x00"

    def _page(self, prefix: bytes, after: bytes, size: int) -> list[Item]:
        deadline, failure = self._step(), None
        shared, cut = self._usable(), len(prefix)
        while True:
            shared.active.append(None)
            try:
                if (env := shared.env) is not None:
                    page: list[Item] = []
                    with env.begin() as txn, txn.cursor() as cursor:
                        found = cursor.set_range(prefix + after)
                        while found and len(page) < size and cursor.key()[:cut] == prefix:
                            page.append((cursor.key()[cut:], cursor.value()))
                            found = cursor.next()
                    return page
            except lmdb.Error as error:
                failure = error
            finally:
                shared.active.pop()
            self._recover(failure, deadline)
            failure = None

    def drop(self, namespace: str) -> None:
        """Removes a namespace, in transactions of 10,000 records."""
        while keys := [key for key, _ in self._page(self._prefixes[namespace], b"", _WRITE_ITEMS)]:
            self.delete(namespace, keys)

    def close(self) -> None:
        """Lets go of the files, unless another store of this process uses them, too."""
        if not self._closed:
            self._closed = True
            self._shared.leave()

    def _usable(self) -> SharedEnvironment:
        if self._closed:
            raise BackendError(f"online store {self._name}: it is closed")
        return self._shared

    def _step(self) -> Deadline:
        return Deadline(self._timeout_s * STEP_FACTOR)

    def _recover(self, failure: lmdb.Error | None, deadline: Deadline) -> None:
        self._usable().recover(failure, deadline)
