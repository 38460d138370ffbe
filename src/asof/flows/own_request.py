"""The scored event itself, as a request brings it: the columns that its windows need, as the kernels take them.

Plain columns are converted here; where a predicate or a derived column has to be computed, the request goes through the
very projection of the source (`own_rows.py`), as a spine does in a training set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow import Column, arrow_type, to_column
from asof.compute.arrow_ops import ints, signed, valid_mask
from asof.compute.fold_features import NOBODY
from asof.compute.record import Layout
from asof.define.service import FeatureService
from asof.define.source import Events, parts_of
from asof.engines.duckdb import DuckDBEngine
from asof.flows.groups import Group, group_features
from asof.flows.online_service import OnlineView
from asof.flows.own_rows import own_table
from asof.flows.spine import Spine

TIME = "event_time"


@dataclass(frozen=True)
class OwnColumns:
    """The own rows of one view's requests: `(n,)` values and predicates by name, their event keys (no such row: not
    valid), and for which entities they count: a request without an entity key has nothing to count in.
    """

    columns: Mapping[str, Column]
    predicates: Mapping[str, Bools]
    key_low: Ints
    key_high: Ints
    keyed: Bools
    counts: Bools

    def but(self, rows: Sequence[int]) -> OwnColumns:
        """The same, counting for none of these rows."""
        counts = self.counts.copy()
        counts[list(rows)] = False
        return replace(self, keyed=self.keyed & counts, counts=counts)

    def cells(self, layout: Layout) -> tuple[Ints, Bools]:
        """`own` and `own_marks` as `fold_records` wants them; text is null there, its features are not folded."""
        n = self.key_low.size
        own, marks = (
            np.zeros((2 + len(layout.columns), n), np.int64),
            np.zeros((1 + len(layout.columns) + len(layout.predicates), n), np.bool_),
        )
        own[0] = np.where(self.counts, self.key_low, NOBODY)
        own[1], marks[0] = self.key_high, self.keyed
        for c, name in enumerate(layout.names):
            column = self.columns[name]
            own[2 + c], marks[1 + c] = column.values.view(np.int64), column.valid
        for p, sql in enumerate(layout.predicates):
            marks[1 + len(layout.columns) + p] = self.predicates[sql]
        return own, marks


class OwnRequest:
    """Makes the own rows of one view's requests."""

    def __init__(
        self, engine: DuckDBEngine, service: FeatureService, view: OnlineView, layout: Layout
    ) -> None:
        refs = [ref for ref in service.refs if ref.view == view.view]
        self._group: Group = group_features(refs)[0]
        self._engine, self._layout = engine, layout
        self.needed = self._needed_columns()

    def _needed_columns(self) -> tuple[tuple[str, pa.DataType], ...]:
        """The columns that a request has to bring, with the types of the source."""
        asked = replace(self._group, read_too=())
        source = self._group.source
        part = parts_of(source)[0]
        types = self._engine.schema(part)
        derived = dict(part.source.columns) if isinstance(source, Events) else {}
        names = dict.fromkeys(asked.columns)
        for sql in (*asked.predicates, *(derived[name] for name in asked.columns if name in derived)):
            names |= dict.fromkeys(self._engine.check_expression("own row", sql))
        if part.source.key is not None:
            names[part.source.key] = None
        folded = {name.lower(): name for name in types}
        found = [folded.get(name.lower(), name) for name in names]
        return tuple((name, types[name]) for name in found if name in types and name not in derived)

    def make(self, table: pa.Table, at: Ints) -> OwnColumns:
        """The own rows of a request.

        Raises:
            MissingColumn, WrongType: a column that the windows need is not there, or of another type.
        """
        n = table.num_rows
        spine = Spine(table, TIME, at, np.ones(n, np.bool_))
        own = own_table(self._engine, self._group, spine)
        columns: dict[str, Column] = {}
        for name, dtype in self._layout.columns:
            data = own.values.get(name)
            columns[name] = _column(name, data, dtype, n)
        predicates = {sql: _predicate(own.predicates.get(sql), n) for sql in self._layout.predicates}
        low, high, keyed = _digest(own.digests, n)
        return OwnColumns(columns, predicates, low, high, keyed, np.ones(n, np.bool_))


def _column(name: str, data: pa.ChunkedArray | None, dtype: Any, n: int) -> Column:
    if data is None or pa.types.is_null(data.type):
        return Column(
            dtype, np.zeros(n, np.float64 if dtype.kind == "float64" else np.int64), np.zeros(n, np.bool_)
        )
    column = to_column(name, data)
    return column if column.dtype == dtype else to_column(name, data.cast(arrow_type(dtype)))


def _predicate(data: pa.ChunkedArray | None, n: int) -> Bools:
    if data is None or pa.types.is_null(data.type):
        return np.zeros(n, np.bool_)
    return valid_mask(data) & ints(data.cast(pa.int8())).astype(np.bool_)


def _digest(halves: tuple[pa.ChunkedArray, pa.ChunkedArray] | None, n: int) -> tuple[Ints, Ints, Bools]:
    if halves is None:
        nothing = np.zeros(n, np.int64)
        return nothing, nothing, np.zeros(n, np.bool_)
    low, high = (ints(signed(half.combine_chunks())) for half in halves)
    return low, high, valid_mask(halves[0])
