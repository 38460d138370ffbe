"""Swaps in pieces, as `batches.py` cuts writes; and what every store does not take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asof.errors import BackendError
from asof.online.batches import batches_of
from asof.online.store import MAX_KEY_BYTES, Swap


def swap_batches(
    items: Sequence[Swap], *, max_items: int, max_bytes: int, max_record_bytes: int | None, store: str
) -> Iterator[Sequence[Swap]]:
    """The items in parts of at most so many, whose new records have at most so many bytes.

    Raises:
        BackendError: a key is there twice; a key or a new record is larger than the store takes.

    Example:
        >>> items = [(b"a", None, b"12"), (b"b", b"3", b"3456"), (b"c", b"", None)]
        >>> cut = swap_batches(items, max_items=9, max_bytes=6, max_record_bytes=4, store="test")
        >>> [[key for key, _, _ in batch] for batch in cut]
        [[b'a'], [b'b', b'c']]
    """
    if len({key for key, _, _ in items}) < len(items):
        raise BackendError(
            f"online store {store}: a key is there twice in one swap",
            hint="swap one key's records one by one",
        )
    for begin in range(0, len(items), max_items):
        part = items[begin : begin + max_items]
        keys, records = [key for key, _, _ in part], [record or b"" for _, _, record in part]
        size_bytes = sum(map(len, keys)) + sum(map(len, records))
        if (
            size_bytes <= min(max_bytes, max_record_bytes or max_bytes)
            and max(map(len, keys)) <= MAX_KEY_BYTES
        ):
            yield part
            continue
        at = 0
        for batch in batches_of(
            zip(keys, records, strict=True),
            max_items=max_items,
            max_bytes=max_bytes,
            max_record_bytes=max_record_bytes,
            store=store,
        ):
            yield part[at : at + len(batch)]
            at += len(batch)
