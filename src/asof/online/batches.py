"""Writes in pieces: what a store takes at once, and what it does not take at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from asof.errors import BackendError
from asof.online.store import MAX_KEY_BYTES, Item

T = TypeVar("T")


def batches_of(
    items: Iterable[Item], *, max_items: int, max_bytes: int, max_record_bytes: int | None, store: str
) -> Iterator[list[Item]]:
    """The items in lists of at most so many items and bytes; a larger record comes alone.

    Raises:
        BackendError: a key or a record is larger than the store takes; carries `size_bytes` and `limit_bytes`.

    Example:
        >>> items = [(b"a", b"12"), (b"b", b"3456"), (b"c", b"")]
        >>> cut = batches_of(items, max_items=9, max_bytes=6, max_record_bytes=4, store="test")
        >>> [[key for key, _ in batch] for batch in cut]
        [[b'a'], [b'b', b'c']]
    """
    batch: list[Item] = []
    held_bytes = 0
    for item in items:
        key, record = item
        size_bytes = len(key) + len(record)
        if len(key) > MAX_KEY_BYTES:
            raise _too_large(store, "key", len(key), MAX_KEY_BYTES)
        if max_record_bytes is not None and len(record) > max_record_bytes:
            raise _too_large(store, "record", len(record), max_record_bytes)
        if batch and (len(batch) >= max_items or held_bytes + size_bytes > max_bytes):
            yield batch
            batch, held_bytes = [], 0
        batch.append(item)
        held_bytes += size_bytes
    if batch:
        yield batch


def groups_of(keys: Iterable[T], size: int) -> Iterator[list[T]]:
    """The keys in lists of at most `size`.

    Example:
        >>> list(groups_of("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    group: list[T] = []
    for key in keys:
        group.append(key)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _too_large(store: str, what: str, size_bytes: int, limit_bytes: int) -> BackendError:
    return BackendError(
        f"online store {store}: a {what} of {size_bytes:,} bytes; at most {limit_bytes:,} are allowed",
        hint="fewer or smaller features in the view, or another store"
        if what == "record"
        else "shorter entity keys",
        size_bytes=size_bytes,
        limit_bytes=limit_bytes,
    )
