"""Skew: values that were answered online, against the training path as of the same instants.

The replay asks the sources for the keys of a log at its instants, as known just before each view's watermark: what the
store had not got yet is freshness, not skew, and is told as a figure of its own. What is left is a difference between
the two paths (or a source that was changed behind its own known-at times).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Bools, Floats, Ints
from asof.compute.arrow import arrow_type, cast_numbers
from asof.compute.arrow_ops import valid_mask
from asof.compute.fold_records import MISSING, STALE
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.source import is_streamed, parts_of
from asof.engines.scan import Engine
from asof.errors import MissingColumn, WrongType
from asof.flows.feature_columns import Settings, asked_of, group_columns
from asof.flows.groups import FeatureId, group_features
from asof.flows.own_rows import own_table
from asof.flows.request import request_column
from asof.flows.request_log import AT, KEY, REQUEST, STATUS, VALUE, WATERMARK, names_in
from asof.flows.spine import Spine

if TYPE_CHECKING:
    from asof.flows.project import Project

TIME = "event_time"
MAX_SHOWN = 100
"""So many differences are kept, row by row; all of them are counted."""


@dataclass(frozen=True)
class Difference:
    """One value that differs: which column of which row of the log, and both values."""

    column: str
    row: int
    at_us: int
    keys: Mapping[str, object]
    online: object
    offline: object


@dataclass
class ColumnSkew:
    """How one column compares; `fresher` counts values that training, asked at the same instants, had fresher."""

    name: str
    compared: int = 0
    different: int = 0
    skipped: int = 0
    fresher: int = 0
    largest_absolute: float = 0.0
    largest_relative: float = 0.0


@dataclass
class SkewReport:
    """What a replay found."""

    service: str
    rows: int
    columns: list[ColumnSkew] = field(default_factory=list[ColumnSkew])
    differences: list[Difference] = field(default_factory=list[Difference])

    @property
    def different(self) -> int:
        """How many values differ."""
        return sum(column.different for column in self.columns)

    @property
    def compared(self) -> int:
        """How many values were compared."""
        return sum(column.compared for column in self.columns)


def replay(project: Project, service: FeatureService, log: pa.Table, *, tolerance: float = 0.0) -> SkewReport:
    """Compares the rows of a log (see `request_log.py`) with the training path.

    Floats are compared to the last bit; with a `tolerance`, two numbers are one when they are apart by no more than
    that share of the larger one. A value that the service's policy had put in the place of a missing or stale one
    is not compared. Of a view that follows a stream, a value may also be that of all that was known when it was asked:
    events that came since the worker last said how far it is are in it, or are on their way.

    Raises:
        MissingColumn: the log has not the columns of this service. DataError: the source is not as it must be.
    """
    _check(service, log)
    engine = project.engine()
    try:
        with project.meter.run("skew", labels={"service": service.name}) as run:
            resources = project.resources()
            settings = Settings(
                as_known=True, cutoff_us=None, threads=resources.threads, memory_bytes=resources.memory_bytes,
                spill_dir=resources.spill_dir, run=run, progress=_quiet,
            )  # fmt: skip
            spine = _spine(engine, service, log)
            told = _Replay(engine, service, spine, settings)
            known = told.columns(_watermarks(service, log))
            now = told.columns({})
    finally:
        engine.close()
    report = SkewReport(service.name, log.num_rows)
    for item in service.features:
        _compare(report, service, item.name, log, known[item.name], now[item.name], tolerance)
    return report


def _quiet(stage: str, asset: str, done: int, total: int) -> None:
    del stage, asset, done, total


def _check(service: FeatureService, log: pa.Table) -> None:
    wanted = [KEY + name for entity in service.entities for name in entity.keys.names]
    wanted += [prefix + name for name in service.names for prefix in (VALUE, STATUS)]
    wanted += [WATERMARK + ref.view.name for ref in service.refs]
    for name in wanted:
        if name not in log.column_names:
            raise MissingColumn(
                f"request log: no column {name!r}, so it is not of this service {service.name!r}",
                hint="replay it with the code that served, or --since the service was changed",
                column=name,
            )


def _spine(engine: Engine, service: FeatureService, log: pa.Table) -> Spine:
    """The log's keys, request columns and instants as a spine, in the types that definitions declare."""
    types: dict[str, Any] = {n: arrow_type(d) for entity in service.entities for n, d in entity.keys}
    types |= {name: arrow_type(dtype) for name, dtype in service.request.items()}
    if service.own_row is not None:  # as in a read, where both need a column, it has the source's type
        given = engine.schema(parts_of(service.own_row)[0])
        types |= {name: given[name] for name in names_in(log, REQUEST) if name in given}
    columns: dict[str, Any] = {}
    for prefix in (KEY, REQUEST):
        for name in names_in(log, prefix):
            columns[name] = _cast(name, log[prefix + name], types.get(name))
    at = log[AT].cast(pa.int64()).to_numpy()
    columns[TIME] = log[AT]
    return Spine(pa.table(columns), TIME, at, np.ones(at.size, np.bool_))


def _cast(name: str, column: pa.ChunkedArray, wanted: Any) -> pa.ChunkedArray:
    try:
        return column if wanted is None else pa.chunked_array([cast_numbers(_whole(column), wanted)])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise WrongType(f"request log: column {name!r} is {column.type}, not {wanted}", column=name) from exc


def _watermarks(service: FeatureService, log: pa.Table) -> dict[str, Ints]:
    names = {ref.view.name for ref in service.refs}
    return {name: log[WATERMARK + name].cast(pa.int64()).to_numpy() for name in names}


@dataclass
class _Replay:
    """Asks the training path for a spine, again and again as known at other instants."""

    engine: Engine
    service: FeatureService
    spine: Spine
    settings: Settings

    def columns(self, watermarks: Mapping[str, Ints]) -> dict[str, pa.Array]:
        """The service's columns, each view as known before its watermark (none: at the instants that ask)."""
        views: dict[FeatureView, list[FeatureRef]] = {}
        for ref in self.service.refs:
            views.setdefault(ref.view, []).append(ref)
        made: dict[FeatureId, pa.Array] = {}
        for view, refs in views.items():
            at = self.spine.at
            known = np.minimum(at, watermarks[view.name] - 1) if view.name in watermarks else at
            made |= self._view(refs, known)
        return {item.name: self._column(item, made) for item in self.service.features}

    def _view(self, refs: Sequence[FeatureRef], as_known: Ints) -> dict[FeatureId, pa.Array]:
        (group,) = group_features(refs)
        asked = asked_of(group, self.spine, as_known, f"entity {group.entity.name!r}")
        if self.service.own_row == group.source:
            asked = replace(asked, own=own_table(self.engine, group, self.spine))
        return group_columns(self.engine, group, asked, self.settings).columns

    def _column(self, item: FeatureRef | RequestFeature, made: Mapping[FeatureId, pa.Array]) -> pa.Array:
        if isinstance(item, FeatureRef):
            return made[item.view.name, item.feature.name]
        inputs: dict[str, pa.Array] = {r.name: made[r.view.name, r.feature.name] for r in item.inputs}
        for name, dtype in item.request:
            inputs[name] = self.spine.key(name, dtype, f"request feature {item.name!r}").combine_chunks()
        return request_column(item, inputs, self.spine.at, self.spine.size)


# ------------------------------------------------------------------------------------------------ comparison
def _compare(
    report: SkewReport, service: FeatureService, name: str, log: pa.Table, offline: pa.Array, now: pa.Array,
    tolerance: float,
) -> None:  # fmt: skip
    online = _whole(log[VALUE + name]).cast(_whole(offline).type)
    status = log[STATUS + name].to_numpy()
    use = np.ones(len(online), np.bool_)
    for policy, worth in ((service.on_missing, MISSING), (service.on_stale, STALE)):
        if policy != "serve":
            use &= status != worth
    offline, now = _whole(offline), _whole(now)
    wrong = use & _differ(online, offline, tolerance)
    if any(is_streamed(ref.view.source) for ref in service.refs):
        wrong &= _differ(online, now, tolerance)
    made = ColumnSkew(name, int(use.sum()), int(wrong.sum()), int((~use).sum()))
    made.fresher = int((use & ~wrong & _differ(offline, now, tolerance)).sum())
    if wrong.any() and _is_number(offline.type):
        made.largest_absolute, made.largest_relative = _largest(
            _floats(online)[wrong], _floats(offline)[wrong]
        )
    report.columns.append(made)
    at = log[AT].cast(pa.int64()).to_numpy()
    keys = names_in(log, KEY)
    for row in np.flatnonzero(wrong).tolist()[: max(0, MAX_SHOWN - len(report.differences))]:
        report.differences.append(
            Difference(
                name, row, int(at[row]), {key: log[KEY + key][row].as_py() for key in keys}, online[row].as_py(),
                offline[row].as_py(),
            )
        )  # fmt: skip


def _whole(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)


def _differ(one: pa.Array, other: pa.Array, tolerance: float) -> Bools:
    """Where two columns differ: floats by their bits, null from everything else."""
    mine, theirs = valid_mask(one), valid_mask(other)
    if pa.types.is_floating(one.type):
        a, b = _floats(one), _floats(other)
        apart = a.view(np.int64) != b.view(np.int64)
        if tolerance:
            near = np.abs(a - b) <= tolerance * np.maximum(np.abs(a), np.abs(b))
            apart &= ~near
        return (mine != theirs) | (mine & theirs & apart)
    pairs = zip(cast("list[Any]", one.to_pylist()), cast("list[Any]", other.to_pylist()), strict=True)
    if tolerance and _is_number(one.type):
        return np.array([not _near(a, b, tolerance) for a, b in pairs], np.bool_)
    return np.array([repr(a) != repr(b) for a, b in pairs], np.bool_)


def _near(one: Any, other: Any, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return abs(float(one) - float(other)) <= tolerance * max(abs(float(one)), abs(float(other)))


def _floats(column: pa.Array) -> Floats:
    values = [0.0 if value is None else float(value) for value in cast("list[Any]", column.to_pylist())]
    return np.array(values, np.float64)


def _largest(one: Floats, other: Floats) -> tuple[float, float]:
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(one - other)
        share = apart / np.maximum(np.abs(one), np.abs(other))
    return float(np.nan_to_num(apart, nan=np.inf).max()), float(np.nan_to_num(share, nan=0.0).max())
