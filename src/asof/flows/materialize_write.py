"""Records on their way into the store, and out of it: sorted, in pieces, and never in the place of a newer one.

The store has no transaction over several calls, so a piece is compared and written in two: between them, some
milliseconds, another run may write. A run that finds at its end that another one came further therefore writes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np

from asof.compute.arrays import Ints
from asof.compute.record import Packed, join
from asof.errors import BackendError
from asof.flows.materialize_steps import Step
from asof.online.store import META_KEY, Item, OnlineStore, Swap

Graft = Callable[[Packed, Sequence[bytes | None]], Packed]
"""New batch parts and the records now -> the records with both."""

_ROUNDS = 20
_READ_AT_ONCE = 1_000  # records: one round trip of every store
_WRITE_AT_ONCE = 10_000
_WRITE_BYTES = 2**23


@dataclass
class Kept:
    """What became of records: written, removed, bytes written; and how many more the store holds than before (of a
    whole run: how many it holds).
    """

    records: int = 0
    removed: int = 0
    size_bytes: int = 0
    entities: int = 0
    held_bytes: int = 0

    def __iadd__(self, other: Kept) -> Self:
        self.records += other.records
        self.removed += other.removed
        self.size_bytes += other.size_bytes
        self.entities += other.entities
        self.held_bytes += other.held_bytes
        return self


def fetch(store: OnlineStore, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
    """The records of keys, in their order."""
    found: list[bytes | None] = []
    for start in range(0, len(keys), _READ_AT_ONCE):
        found += store.get([(namespace, keys[start : start + _READ_AT_ONCE])])
    return found


def write_records(
    store: OnlineStore,
    step: Step,
    keys: Sequence[bytes],
    packed: Packed,
    ttl_s: int | None,
    progress: Callable[[int], None],
    graft: Graft | None = None,
) -> Kept:
    """Writes the records of keys, but where the store has one of a run that began later; those without rows go.

    With `graft` the stream parts stay that the records have when they are written.
    """
    total = Kept()
    view, edges = memoryview(cast("Any", packed.data)), cast("list[int]", packed.offsets.tolist())
    for piece in _pieces(keys, packed.offsets):
        records = [(keys[i], bytes(view[edges[i] : edges[i + 1]])) for i in piece]
        if graft is not None:
            total += _graft_records(store, step, records, ttl_s, graft)
            progress(total.records)
            continue
        held = fetch(store, step.namespace, [key for key, _ in records])
        items: list[Item] = []
        gone: list[bytes] = []
        for (key, record), old in zip(records, held, strict=True):
            if old is not None and watermark_of(old) > step.newest_us:
                total.entities += step.whole
                total.held_bytes += len(old) if step.whole else 0
                continue
            if record:
                items.append((key, record))
            elif old is not None:
                gone.append(key)
            if old is not None and not step.whole:
                total.entities -= 1
                total.held_bytes -= len(old)
        if items:
            total.records += store.write(step.namespace, items, ttl_s=ttl_s)
            size_bytes = sum(len(record) for _, record in items)
            total.size_bytes += size_bytes
            total.entities += len(items)
            total.held_bytes += size_bytes
        if gone:
            total.removed += store.delete(step.namespace, gone)
        progress(total.records)
    return total


def _graft_records(
    store: OnlineStore, step: Step, records: Sequence[Item], ttl_s: int | None, graft: Graft
) -> Kept:
    """Puts new batch parts into records that a worker may be changing.

    Raises:
        BackendError: somebody came between all the time.
    """
    total, left = Kept(), list(records)
    for _ in range(_ROUNDS):
        held = fetch(store, step.namespace, [key for key, _ in left])
        made = graft(Packed(*join([record for _, record in left])), held).records()
        swaps: list[Swap] = []
        again: list[Item] = []
        for (key, record), old, new in zip(left, held, made, strict=True):
            if old is not None and watermark_of(old) > step.newest_us:
                total.entities += step.whole
                total.held_bytes += len(old) if step.whole else 0
            elif new or old is not None:
                swaps.append((key, old, new or None))
                again.append((key, record))
        done = store.swap(step.namespace, swaps, ttl_s=ttl_s) if swaps else []
        for (_, old, new), good in zip(swaps, done, strict=True):
            if good:
                total += _kept(step, old, new)
        left = [item for item, good in zip(again, done, strict=True) if not good]
        if not left:
            return total
    raise BackendError(
        f"view {step.view.name!r}: a worker has changed records {_ROUNDS} times while they were written",
        retryable=True,
    )


def _kept(step: Step, old: bytes | None, new: bytes | None) -> Kept:
    """What one swap has changed."""
    made = Kept(
        int(new is not None), int(new is None), len(new or b""), int(new is not None), len(new or b"")
    )
    if old is not None and not step.whole:
        made.entities -= 1
        made.held_bytes -= len(old)
    return made


def _pieces(keys: Sequence[bytes], offsets: Ints) -> Iterator[list[int]]:
    """The places of keys in their order, in pieces: stores that keep them sorted fill their pages that way."""
    sizes = np.diff(offsets)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    after = np.cumsum(sizes[order]) // _WRITE_BYTES
    start = 0
    while start < len(order):
        stop = min(start + _WRITE_AT_ONCE, int(np.searchsorted(after, after[start], side="right")))
        yield order[start:stop]
        start = stop


def sweep(
    store: OnlineStore, step: Step, hashes: Ints, graft: Graft | None = None, ttl_s: int | None = None
) -> int:
    """Removes the records that are not among those written (whose keys have these hashes, sorted), and that no later
    run has written; gives their number. With `graft` those stay that have a stream part, with nothing but that.
    """
    gone: list[bytes] = []
    for key, record in store.scan(step.namespace):
        if key == META_KEY or (written_us := watermark_of(record)) > step.newest_us:
            continue
        place = min(int(np.searchsorted(hashes, hash(key))), hashes.size - 1)
        if hashes.size == 0 or hashes[place] != hash(key) or written_us < step.until_us:
            gone.append(key)
    if graft is not None:
        parts = (gone[i : i + _READ_AT_ONCE] for i in range(0, len(gone), _READ_AT_ONCE))
        return sum(
            _graft_records(store, step, [(key, b"") for key in part], ttl_s, graft).removed for part in parts
        )
    return store.delete(step.namespace, gone) if gone else 0


def watermark_of(record: bytes) -> int:
    """Until when a record holds what was known."""
    return int.from_bytes(record[8:16], "little", signed=True)
