"""A history: the rows of one source for the entities that are asked for, sorted and ready for the window
kernels.

`Part` is what a reader brings (rows in order of arrival); `History.build` numbers versions, sorts by (entity,
event time, known-at, arrival) and knows for every row until when it is visible. Next: `windows.py` asks it,
`aggregate.py` folds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
import pyarrow as pa

from asof.compute import sort
from asof.compute.arrays import EMPTY_INTS, Array, Bools, Floats, Ints
from asof.compute.arrow import Column, to_column, unified
from asof.compute.arrow_ops import filled, valid_mask
from asof.compute.revise import EventKeys, revise
from asof.define.window import END_US

Rows = tuple[Ints, Ints, Bools]


@dataclass(frozen=True)
class Part:
    """Rows of one source in order of arrival.

    `group` is the number of the row's entity, -1 where it matches none (it may still supersede another row);
    `known` None means known when it happened; `delayed` that `known` is
    a declared delay, the same for all; `own_code` numbers the event keys that the spine's own rows
    carry.
    """

    group: Ints
    event: Ints
    known: Ints | None
    values: Mapping[str, pa.ChunkedArray]
    predicates: Mapping[str, pa.ChunkedArray]
    keys: EventKeys | None = None
    deleted: Bools | None = None
    own_code: Ints | None = None
    delayed: bool = False


@dataclass(frozen=True)
class OwnRows:
    """The scored events themselves: one for each query, with the columns of the source."""

    event: Ints
    values: Mapping[str, pa.ChunkedArray]
    predicates: Mapping[str, pa.ChunkedArray]
    code: Ints


@dataclass(frozen=True)
class History:
    """Sorted rows. Arrays of values have `own` more entries at the end: the own rows, in order of the
    queries.
    """

    starts: Ints
    event: Ints
    known: Ints
    until: Ints
    columns: Mapping[str, Column]
    predicates: Mapping[str, Bools]
    own: int = 0
    own_code: Ints = field(default_factory=lambda: EMPTY_INTS)
    threads: int = 1
    late: int = 0
    _masks: dict[tuple[str | None, str | None], Bools] = field(default_factory=dict, compare=False)
    _prefixes: dict[tuple[str, str | None, str | None], Ints] = field(default_factory=dict, compare=False)
    _floats: dict[str, Floats] = field(default_factory=dict, compare=False)

    @classmethod
    def build(
        cls, parts: Sequence[Part], groups: int, *, threads: int = 1, own: OwnRows | None = None
    ) -> History:
        """Sort the rows of one or several sources (in the order of their names' precedence at ties).

        Raises:
            WrongType, NumericOverflow: a column that no feature can use.
        """
        columns = _columns([part.values for part in parts], own)
        predicates = _predicates([part.predicates for part in parts], own)
        group = np.concatenate([part.group for part in parts]) if len(parts) > 1 else parts[0].group
        event = np.concatenate([part.event for part in parts]) if len(parts) > 1 else parts[0].event
        known = _known(parts, event)
        until, group = _versions(parts, group, event, known, columns, predicates)
        order, starts = sort.order_rows(group, groups, event, known, threads)
        rows = _Sorter(order, threads, group.size, 0 if own is None else own.event.size)
        sorted_event = rows.take(event, None if own is None else own.event)
        sorted_known = sorted_event if known is event else rows.take(known)
        return cls(
            starts=starts,
            event=sorted_event,
            known=sorted_known,
            until=EMPTY_INTS if until.size == 0 else rows.take(until),
            columns={name: rows.column(column) for name, column in columns.items()},
            predicates={sql: rows.bools(mask) for sql, mask in predicates.items()},
            own=rows.extra,
            own_code=_own_codes(parts, order),
            threads=threads,
            late=sum(_late(part) for part in parts),
        )

    @property
    def size(self) -> int:
        """How many rows of history there are (own rows not counted)."""
        return int(self.starts[-1])

    @cached_property
    def final(self) -> Bools:
        """True for rows that nothing supersedes."""
        return np.ones(self.size, np.bool_) if self.until.size == 0 else self.until == END_US

    @cached_property
    def settled(self) -> Ints:
        """For each row the instant from which it and all rows before it in its entity change no more."""
        if self.until.size == 0 and self.known is self.event:
            return self.event
        last = np.where(self.final, self.known, self.until) if self.until.size else self.known
        out = np.empty(self.size, np.int64)
        sort.running_max(self.starts, last, 0, self.starts.size - 1, out)
        return out

    def changed(self, **changes: object) -> History:
        """A history with other arrays, and nothing remembered of the old ones."""
        return replace(self, _masks={}, _prefixes={}, _floats={}, **changes)  # pyright: ignore[reportArgumentType]

    def without_own(self) -> History:
        """The same history for questions in which no own row counts."""
        return self if self.own == 0 else replace(self, own=0)

    @property
    def rows(self) -> Rows:
        """What the kernels ask of each row: known-at, until when visible, whether final."""
        return self.known, self.until, self.final

    def mask(self, column: str | None, predicate: str | None) -> Bools:
        """Rows that count for a column and a predicate: value not null and predicate true."""
        made = self._masks.get((column, predicate))
        if made is None:
            made = np.ones(self.event.size, np.bool_) if column is None else self.columns[column].valid
            if predicate is not None:
                made = made & self.predicates[predicate]
            self._masks[column, predicate] = made
        return made

    def final_mask(self, column: str | None, predicate: str | None) -> Bools:
        """The rows of `mask` that nothing supersedes."""
        mask = self.mask(column, predicate)
        if self.until.size == 0:
            return mask
        name = (f"final {column}", predicate)
        if name not in self._masks:
            self._masks[name] = mask[: self.size] & self.final
        return self._masks[name]

    def floats(self, column: str) -> Floats:
        """A column's values as float64."""
        found = self.columns[column]
        if found.values.dtype.kind == "f":
            return found.values
        if column not in self._floats:
            self._floats[column] = found.floats
        return self._floats[column]

    def prefix(self, kind: str, column: str | None, predicate: str | None) -> Ints:
        """Prefix sums over final rows that count: of 1 (`count`) or of the value (`sum`); wraps around like
        int64.
        """
        name = (kind, column, predicate)
        made = self._prefixes.get(name)
        if made is None:
            mask = self.final_mask(column, predicate)[: self.size]
            made = np.zeros(self.size + 1, np.int64)
            if kind == "count":
                np.cumsum(mask, out=made[1:])
            else:
                values = self.columns[cast("str", column)].values[: self.size]
                np.cumsum(np.where(mask, values, 0), out=made[1:])
            self._prefixes[name] = made
        return made


def _late(part: Part) -> int:
    """How many rows of the entities asked for became known after they happened (a declared delay is no
    lateness).
    """
    if part.known is None or part.delayed:
        return 0
    return int(np.count_nonzero((part.known > part.event) & (part.group >= 0)))


class _Sorter:
    """Takes raw rows in sorted order and puts the own rows behind them."""

    def __init__(self, order: Ints, threads: int, n: int, own: int) -> None:
        self.order, self.threads, self.n, self.extra = order, threads, n, own

    def take(self, values: Array, own: Array | None = None) -> Array:
        extra = 0 if own is None else self.extra
        out = sort.take(values, self.order, self.threads, extra)
        if own is not None and extra:
            out[self.order.size :] = own
        return out

    def bools(self, values: Bools) -> Bools:
        return cast("Bools", self.take(values, values[self.n :]))

    def column(self, column: Column) -> Column:
        values = self.take(column.values, column.values[self.n :])
        return replace(column, values=values, valid=self.bools(column.valid))


def _columns(parts: Sequence[Mapping[str, pa.ChunkedArray]], own: OwnRows | None) -> dict[str, Column]:
    tables = [*parts, own.values] if own is not None else list(parts)
    made: dict[str, Column] = {}
    for name in parts[0]:
        columns = [table[name] for table in tables]  # one without rows has a type as well
        chunks = [chunk for column in columns for chunk in column.chunks or [column.combine_chunks()]]
        made[name] = to_column(name, unified(name, chunks))
    return made


def _predicates(parts: Sequence[Mapping[str, pa.ChunkedArray]], own: OwnRows | None) -> dict[str, Bools]:
    tables = [*parts, own.predicates] if own is not None else list(parts)
    made: dict[str, Bools] = {}
    for sql in parts[0]:
        joined = pa.chunked_array([c for table in tables for c in table[sql].chunks], pa.bool_())
        made[sql] = valid_mask(joined)
        made[sql] &= filled(joined, null=False).astype(np.bool_)
    return made


def _known(parts: Sequence[Part], event: Ints) -> Ints:
    if all(part.known is None for part in parts):
        return event
    return np.concatenate([part.event if part.known is None else part.known for part in parts])


def _versions(
    parts: Sequence[Part],
    group: Ints,
    event: Ints,
    known: Ints,
    columns: Mapping[str, Column],
    predicates: Mapping[str, Bools],
) -> tuple[Ints, Ints]:
    """Until when rows are visible (empty where nothing is ever revised), and groups without the rows that
    never count.
    """
    if all(part.keys is None for part in parts):
        return EMPTY_INTS, group
    untils: list[Ints] = []
    groups: list[Ints] = []
    start = 0
    for part in parts:
        rows = slice(start, start + part.group.size)
        start += part.group.size
        if part.keys is None:
            untils.append(np.full(part.group.size, END_US, np.int64))
            groups.append(part.group)
            continue
        same = [group[rows], event[rows]]
        for column in columns.values():
            same += [column.valid[rows], np.where(column.valid[rows], column.values[rows], 0)]
        same += [mask[rows] for mask in predicates.values()]
        until, counts = revise(part.keys, known[rows], part.deleted, same)
        untils.append(until)
        groups.append(np.where(counts, part.group, -1))
    until = np.concatenate(untils)
    return (until if (until != END_US).any() else EMPTY_INTS), np.concatenate(groups)


def _own_codes(parts: Sequence[Part], order: Ints) -> Ints:
    if all(part.own_code is None for part in parts):
        return EMPTY_INTS
    codes = [np.full(p.group.size, -1, np.int64) if p.own_code is None else p.own_code for p in parts]
    return np.concatenate(codes)[order]
