"""The scored event itself, as a request brings it: the columns that its windows need, as the kernels take them.

Plain columns are converted here; where a predicate or a derived column has to be computed, the request goes through the
very projection of the source (`own_rows.py`), as a spine does in a training set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Ints
from asof.compute.arrow import Column, arrow_type, to_column
from asof.compute.arrow_ops import ints, signed, valid_mask
from asof.compute.fold_features import NOBODY
from asof.compute.record import Layout
from asof.define.service import FeatureService
from asof.define.source import Events, InMemory, parts_of
from asof.engines.duckdb import DuckDBEngine
from asof.engines.scan import KEY_HIGH, KEY_LOW, Scan
from asof.flows.groups import Group, group_features
from asof.flows.online_service import OnlineView
from asof.flows.own_rows import as_source, own_scan
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
        self._projection: Callable[[pa.Table], pa.Table] | None = None
        self._schema: pa.Schema | None = None
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
        """The own rows of a request; not for several threads at once.

        Raises:
            MissingColumn, WrongType: a column that the windows need is not there, or of another type.
        """
        n = table.num_rows
        source = as_source(self._engine, self._group, Spine(table, TIME, at, np.ones(n, np.bool_)))
        scan = own_scan(self._group, source)
        held = cast("InMemory", source.history).table
        rows = held if self._is_plain(scan) else self._project(scan, held)
        values = {name: rows[name if rows is held else f"v{i}"] for i, name in enumerate(scan.values)}
        tests = {sql: rows[f"p{i}"] for i, sql in enumerate(scan.predicates)}
        columns = {name: _column(name, values.get(name), dtype, n) for name, dtype in self._layout.columns}
        predicates = {sql: _predicate(tests.get(sql), n) for sql in self._layout.predicates}
        low, high, keyed = _event_keys(rows, source.key if rows is held else None, n)
        return OwnColumns(columns, predicates, low, high, keyed, np.ones(n, np.bool_))

    def _is_plain(self, scan: Scan) -> bool:
        """True where nothing is computed: no predicate, no derived column, a key that is text or a number."""
        source = scan.source.source
        types = dict(self.needed)
        key = None if source.key is None else types.get(source.key)
        known_key = source.key is None or (
            key is not None and (pa.types.is_integer(key) or pa.types.is_string(key))
        )
        return known_key and not scan.predicates and all(name in types for name in scan.values)

    def _project(self, scan: Scan, held: pa.Table) -> pa.Table:
        """The rows through the source's own SQL."""
        if self._projection is None or self._schema != held.schema:
            self._projection, self._schema = self._engine.prepare(scan), held.schema
        return self._projection(held)


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


def _event_keys(rows: pa.Table, key: str | None, n: int) -> tuple[Ints, Ints, Bools]:
    """The two halves of the event keys, and which rows have one; see `Scan.digests`."""
    if KEY_LOW in rows.column_names:
        low, high = (ints(signed(rows[name].combine_chunks())) for name in (KEY_LOW, KEY_HIGH))
        return low, high, valid_mask(rows[KEY_LOW])
    if key is None:
        nothing = np.zeros(n, np.int64)
        return nothing, nothing, np.zeros(n, np.bool_)
    column = rows[key]
    if pa.types.is_integer(column.type):
        return ints(column), np.zeros(n, np.int64), valid_mask(column)
    digests = [_md5(text) for text in cast("list[str | None]", column.to_pylist())]
    halves = np.frombuffer(b"".join(digests), np.int64).reshape(-1, 2)
    return halves[:, 1].copy(), halves[:, 0].copy(), valid_mask(column)


def _md5(text: str | None) -> bytes:
    return hashlib.md5((text or "").encode(), usedforsecurity=False).digest()
