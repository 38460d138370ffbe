"""What the online store holds of views: how many records, how large they are, which are the largest, and how old."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.online.codec import Meta
from asof.online.store import META_KEY, OnlineStore
from asof.registry.state import namespace_of

LARGEST = 5


@dataclass(frozen=True)
class ViewStats:
    """The records of one version of a view. Units: bytes are of records as they are stored, without keys.

    `largest` are the largest records, the largest first: key (or a hash of it) and size. `watermark_us` and `floor_us`
    are None where the store holds nothing of this version; `age_us` is how far the watermark lies behind now.
    """

    view: str
    namespace: str
    layout: Literal["rows", "tiles"] | None = None
    records: int = 0
    total_bytes: int = 0
    p50_bytes: int = 0
    p99_bytes: int = 0
    max_bytes: int = 0
    largest: tuple[tuple[str, int], ...] = ()
    watermark_us: int | None = None
    floor_us: int | None = None
    age_us: int | None = None


def read_stats(
    store: OnlineStore,
    views: Sequence[FeatureView],
    *,
    now_us: int,
    show_keys: bool = False,
    largest: int = LARGEST,
) -> Iterator[ViewStats]:
    """What the store holds of each view; every record is looked at.

    Args:
        store: the online store.
        views: the views.
        now_us: ages are as of now.
        show_keys: the keys of the largest records as they are; else a hash stands for each, since keys may be personal.
        largest: how many of the largest records.
    """
    for view in views:
        yield _stats_of(store, view, now_us, largest, show_keys=show_keys)


def _stats_of(
    store: OnlineStore, view: FeatureView, now_us: int, largest: int, *, show_keys: bool
) -> ViewStats:
    namespace = namespace_of(fingerprint(view))
    sizes: list[int] = []
    top: list[tuple[int, bytes]] = []
    meta: Meta | None = None
    for key, record in store.scan(namespace):
        if key == META_KEY:
            meta = Meta.parse(record)
            continue
        sizes.append(len(record))
        if len(top) < largest or len(record) > top[0][0]:
            (heapq.heappush if len(top) < largest else heapq.heappushpop)(top, (len(record), key))
    p50, p99, most = _quantiles(sizes)
    return ViewStats(
        view.name,
        namespace,
        None if meta is None else "rows" if meta.layout.tiles is None else "tiles",
        len(sizes),
        sum(sizes),
        p50,
        p99,
        most,
        tuple((_told(key, show_keys=show_keys), size) for size, key in sorted(top, reverse=True)),
        None if meta is None else meta.watermark_us,
        None if meta is None else meta.floor_us,
        None if meta is None else now_us - meta.watermark_us,
    )


def _quantiles(sizes: Sequence[int]) -> tuple[int, int, int]:
    """The sizes in the middle, at the 99th of 100, and the largest: sizes that records have."""
    if not sizes:
        return 0, 0, 0
    found = np.quantile(np.array(sizes, np.int64), [0.5, 0.99, 1.0], method="inverted_cdf")
    return int(found[0]), int(found[1]), int(found[2])


def _told(key: bytes, *, show_keys: bool) -> str:
    """A key as it may be shown.

    Example:
        >>> _told(b"ann", show_keys=True), _told(b"ann", show_keys=False)
        ('ann', '#eaa8b474')
    """
    if show_keys and not key.startswith(b"\xff"):
        return key.decode(errors="replace")
    return "#" + hashlib.blake2b(key, digest_size=4).hexdigest()
