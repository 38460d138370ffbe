"""From what was read, and what the records hold, to the bytes of new records: rows, and tiles where the view has
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asof.compute.arrays import Ints
from asof.compute.record import (
    Layout,
    Packed,
    join,
    newest_of,
    pack_history,
    unpack_all_tiles,
)
from asof.compute.retain import compacted
from asof.compute.tiles import TileLayout, Tiles, fold_rows, merge_tiles, no_tiles, without_old
from asof.define.window import BEGIN_US
from asof.flows.groups import Group
from asof.flows.materialize_history import history_of
from asof.flows.materialize_rows import Rows
from asof.flows.materialize_steps import Step


@dataclass(frozen=True)
class Made:
    """New records, one for each key that was read, and how many rows they hold."""

    packed: Packed
    rows: int


def make_records(
    step: Step,
    group: Group,
    layout: Layout,
    rows: Rows,
    held: Sequence[bytes | None],
    *,
    until_us: int,
    floor_us: int,
    threads: int,
) -> Made:
    """The records of the entities that were read.

    Rows that a held record has folded into tiles are not counted again: of each entity only what became known after its
    record's floor is taken, wherever the interval begins.
    """
    tiled = layout.tiles
    if tiled is None:
        history = history_of(step, group, layout, rows, held, threads)
        history = compacted(history, step.retention, floor_us)
        return Made(pack_history(history, layout, watermark_us=until_us, floor_us=floor_us), history.size)
    keys = len(rows.keys)
    history = history_of(step, group, layout, rows, held, threads, _firsts(held, keys, step.from_us))
    newest = np.maximum(newest_of(history), _words(held, keys, 24, BEGIN_US))
    history = compacted(history, step.retention, floor_us)
    history, tiles = fold_rows(history, tiled, layout.types, floor_us)
    tiles = merge_tiles(_held_tiles(held, keys, layout, tiled), tiles, layout.types)
    tiles = without_old(tiles, step.view.features, floor_us)
    packed = pack_history(
        history, layout, watermark_us=until_us, floor_us=floor_us, tiles=tiles, newest_us=newest
    )
    return Made(packed, history.size)


def _firsts(held: Sequence[bytes | None], keys: int, from_us: int) -> Ints:
    """For each entity the known-at time from which on rows are new to its record."""
    return np.maximum(_words(held, keys, 16, BEGIN_US) + 1, from_us)


def _words(held: Sequence[bytes | None], keys: int, place: int, nothing: int) -> Ints:
    """A number in the header of each record."""
    if not any(held):
        return np.full(keys, nothing, np.int64)
    found = [
        int.from_bytes(record[place : place + 8], "little", signed=True) if record else nothing
        for record in held
    ]
    return np.array(found, np.int64)


def _held_tiles(held: Sequence[bytes | None], keys: int, layout: Layout, tiled: TileLayout) -> Tiles:
    if not any(held):
        return no_tiles(keys, tiled, layout.types)
    data, offsets = join(held)
    return unpack_all_tiles(data, offsets, layout)
