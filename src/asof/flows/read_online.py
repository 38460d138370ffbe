"""Online reads: the features of entities as of now, from the store, by the arithmetic of training.

The way of a read: keys to bytes, records from the store, one kernel for everything that is a plain number
(`compute/fold_records.py`), `aggregate.evaluate` over the same records for the rest, request features, the service's
policy. What does not change from read to read is prepared once (`online_service.py`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from time import monotonic
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.clock import Clock, to_us
from asof.compute.aggregate import evaluate
from asof.compute.arrays import Array, Bools, Ints
from asof.compute.arrow import arrow_type, to_column
from asof.compute.fold_features import MISSING, NULL, PRESENT, STALE
from asof.compute.fold_records import DONE, EARLY, OVERFLOW, SMALL, fold_records
from asof.compute.own_history import with_own_rows
from asof.compute.record import Layout, bad_record, corrupt, unpack_history
from asof.compute.secondary import evaluate_map
from asof.compute.windows import Locator, Queries
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.window import END_US
from asof.engines.duckdb import DuckDBEngine
from asof.errors import DataError, NumericOverflow, UnknownName, did_you_mean
from asof.flows.answer import Answer, Freshnesses, joined
from asof.flows.online_policy import apply_policy
from asof.flows.online_request import Asked, Shape, ask
from asof.flows.online_service import OnlineService, ServiceInfo, describe_service, online_views, prepare
from asof.flows.own_request import OwnColumns, OwnRequest
from asof.flows.request import request_column
from asof.flows.stream_checkpoint import progress_of
from asof.online.codec import Meta
from asof.online.store import META_KEY, OnlineStore

MAX_ENTITIES = 10_000
_META_S = 1.0
_AT_ONCE = 500  # entities folded together, so that the room for their rows stays small
_AHEAD_US = (
    86_400_000_000  # clocks differ, and an event may be dated a little ahead; nothing is known of next week
)
_MOST_SCRATCH_BYTES = 2**26
_NO_OWN: tuple[list[OwnColumns | None], Ints, Bools] = (
    [],
    np.zeros((2, 0), np.int64),
    np.zeros((1, 0), np.bool_),
)
_NO_OTHERS: Mapping[int, pa.Array] = {}


@dataclass
class _Scratch(threading.local):
    """Room for the rows of a read, one for each thread; it grows and is kept."""

    cells: Ints = field(default_factory=lambda: np.empty((0, 0), np.int64))
    marks: Bools = field(default_factory=lambda: np.empty((0, 0), np.bool_))

    def forget(self) -> None:
        """Gives the room back, after a read that was unusually large."""
        self.cells, self.marks = np.empty((0, 0), np.int64), np.empty((0, 0), np.bool_)

    def room(self, cells: int, marks: int, width: int) -> tuple[Ints, Bools]:
        """Arrays of at least these sizes."""
        if self.cells.shape[0] < cells or self.cells.shape[1] < width:
            shape = max(cells, self.cells.shape[0]), max(width, self.cells.shape[1])
            self.cells = np.empty(shape, np.int64)
        if self.marks.shape[0] < marks or self.marks.shape[1] < width:
            shape = max(marks, self.marks.shape[0]), max(width, self.marks.shape[1])
            self.marks = np.empty(shape, np.bool_)
        return self.cells, self.marks


@dataclass(frozen=True)
class _Ready:
    """A service, what the store says of its views, and until when that is believed."""

    made: OnlineService
    metas: Mapping[str, Meta]
    stale_before: Ints
    not_stale: Bools
    own: tuple[OwnRequest | None, ...]
    shape: Shape
    watermarks: tuple[int, ...]
    floor_us: int


class OnlineReader:
    """Reads services from an online store; safe to call from several threads.

    Made by `Project.online()`.
    """

    def __init__(
        self,
        services: Mapping[str, FeatureService],
        store: OnlineStore,
        clock: Clock,
        engine: DuckDBEngine,
        *,
        max_entities: int = MAX_ENTITIES,
    ) -> None:
        self.store, self.clock, self.max_entities = store, clock, max_entities
        self._services, self._engine = dict(services), engine
        self._ready: dict[str, tuple[_Ready, float]] = {}
        self._scratch = _Scratch()
        self._lock = threading.Lock()

    environment: str | None = None
    revision: int | None = None
    problem: str | None = None

    def find(self, service: str) -> FeatureService | None:
        """The definition of a service, if it can be read."""
        return self._services.get(service)

    def serving(self, services: Mapping[str, FeatureService], engine: DuckDBEngine) -> OnlineReader:
        """A reader of other services from the same store."""
        return OnlineReader(services, self.store, self.clock, engine, max_entities=self.max_entities)

    def refresh(self) -> bool:
        """False: definitions of the code alone do not move; see `LiveReader`."""
        return False

    @property
    def embedded(self) -> bool:
        """True where a read takes microseconds, so that it may run in an event loop."""
        return self.store.capabilities.embedded

    def services(self) -> tuple[str, ...]:
        """The names of the services that can be read."""
        return tuple(sorted(self._services))

    def describe(self, service: str) -> ServiceInfo:
        """What a client has to know of a service.

        Raises:
            UnknownName: there is no such service. NotMaterialized: the store holds nothing of one of its views.
        """
        ready = self._get(service)
        types = [(name, dtype) for name, dtype in ready.made.service.request.items()]
        own = [(name, to_column("own", pa.array([], arrow)).dtype) for name, arrow in _own_needed(ready)]
        return describe_service(ready.made, list(dict([*types, *own]).items()), ready.metas)

    def read(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        """The service's features of entities, as of now or of a given instant.

        Shape: key columns of n values each -> n rows; see `Answer`.

        Args:
            service: its name.
            entities: key column -> values.
            request: request column -> values: what request features and the own row need.
            at: the instant; not older than the records allow.

        Empty/null/late: an entity that a view has no record of has empty-window values and is marked missing, and so is
        one with a null key.

        Raises:
            UnknownName: no such service or column. MissingColumn, WrongType: a column that is not as it has to be.
            LimitError: too many entities. NotMaterialized: the store holds nothing of a view. DataError: the instant is
            older than the records allow. Refused: by the service's policy. BackendError: the store failed.
        """
        ready = self._get(service)
        at_us = self.clock.now_us() if at is None else to_us(at)
        asked = ask(ready.shape, entities, request, limit=self.max_entities)
        if at_us < ready.floor_us:
            raise _too_early(ready.made, at_us)
        if at is not None and at_us > self.clock.now_us() + _AHEAD_US:
            raise DataError(
                "the instant that is asked lies in the future", hint="leave `at` away for now", at_us=at_us
            )
        if asked.size <= _AT_ONCE:
            return apply_policy(ready.made.service, self._read(ready, asked, at_us))
        parts = [
            self._read(ready, asked.part(start, min(start + _AT_ONCE, asked.size)), at_us)
            for start in range(0, asked.size, _AT_ONCE)
        ]
        return apply_policy(ready.made.service, joined(parts))

    async def read_async(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        """The same as `read`: in the event loop where the store is embedded, else in a thread."""
        if self.embedded:
            return self.read(service, entities, request, at)
        return await asyncio.to_thread(self.read, service, entities, request, at)

    def check(self) -> None:
        """Nothing, when every service can be read.

        Raises:
            NotMaterialized, BackendError: one cannot.
        """
        for name in self._services:
            self._get(name)

    def close(self) -> None:
        """Lets go of the store."""
        self.store.close()

    def _get(self, name: str) -> _Ready:
        found = self._ready.get(name)
        if found is not None and monotonic() < found[1]:
            return found[0]
        looked = monotonic()  # before the store is asked: what it says is believed from then on
        service = self._services.get(name)
        if service is None:
            hint = did_you_mean(name, self._services) or "no service can be read"
            raise UnknownName(f"no feature service {name!r}", hint=hint, name=name)
        metas = self._metas(service)
        if found is not None and all(
            metas.get(key) is not None and metas[key].layout == meta.layout
            for key, meta in found[0].metas.items()
        ):
            made, own, shape = found[0].made, found[0].own, found[0].shape
        else:
            made = prepare(service, metas)
            own = tuple(
                OwnRequest(self._engine, service, view, layout) if view.own else None
                for view, layout in zip(made.views, made.layouts, strict=True)
            )
            types = {n: arrow_type(d) for n, d in service.request.items()}
            types |= dict(pair for each in own if each is not None for pair in each.needed)
            keys = {name for entity in made.entities for name in entity.keys.names}
            shape = Shape.of(service, made.entities, {n: t for n, t in types.items() if n not in keys})
        age_us = service.max_age_us
        watermarks = tuple(
            max(metas[each.namespace].watermark_us, progress_of(self.store, each.view, each.namespace))
            for each in made.views
        )
        limits = [END_US if age_us is None else us + age_us for us in watermarks]
        ready = _Ready(
            made,
            metas,
            np.array(limits, np.int64),
            np.zeros(len(limits), np.bool_),
            own,
            shape,
            watermarks,
            max(metas[view.namespace].floor_us for view in made.views),
        )
        self._ready[name] = ready, looked + _META_S
        return ready

    def _metas(self, service: FeatureService) -> dict[str, Meta]:
        names = list(dict.fromkeys(view.namespace for view in online_views(service)[0]))
        found = self.store.get([(name, [META_KEY]) for name in names])
        return {name: Meta.parse(data) for name, data in zip(names, found, strict=True) if data is not None}

    def _read(self, ready: _Ready, asked: Asked, at_us: int) -> Answer:
        made, n = ready.made, asked.size
        plan, views = made.plan, len(made.views)
        keys = asked.keys
        records = self.store.get([(namespace, keys[place]) for namespace, place in made.namespaces])
        if asked.without_key:
            _drop_without_key(records, made, asked)
        parts = [record or b"" for record in records] if None in records else cast("list[bytes]", records)
        offsets = np.array([*accumulate(map(len, parts), initial=0)], np.int64)
        data = np.frombuffer(b"".join(parts), np.uint8)
        stale = ready.not_stale if made.service.max_age_us is None else (ready.stale_before < at_us)
        own_columns, own, own_marks = self._own_rows(ready, asked, at_us) if plan.any_own else _NO_OWN
        out, info = np.empty((plan.out_rows, n), np.int64), np.empty((views * n, 3), np.int64)
        ok, status = np.empty((plan.out_rows, n), np.bool_), np.empty((plan.out_rows, n), np.uint8)
        instants, width = plan.instants(at_us), 64
        while True:
            cells, marks = self._scratch.room(plan.cell_rows, plan.mark_rows, width)
            code = fold_records(
                data, offsets, plan.plan, plan.numbers, instants, stale, own, own_marks, cells, marks, out, ok,
                status, info,
            )  # fmt: skip
            if code != SMALL:
                break
            width = 2 * int(info[0, 0])
        if cells.nbytes > _MOST_SCRATCH_BYTES:
            self._scratch.forget()
        if code != DONE:
            _check(code, data, offsets, made, at_us)
        names, dtypes, owners = made.own_names
        fresh = Freshnesses(made.view_names, ready.watermarks, info, n)
        folded = (data, offsets, out, ok, status, info, stale)
        if plan.out_rows != made.width:
            out, ok, status = out[: made.width], ok[: made.width], status[: made.width]
        answer = Answer(
            made.service.name, at_us, names, dtypes, out.T, ok.T, status.T, _NO_OTHERS, fresh, owners
        )
        if not made.is_plain:
            answer = _complete(answer, ready, asked, folded, own_columns)
        return answer

    def _own_rows(
        self, ready: _Ready, asked: Asked, at_us: int
    ) -> tuple[list[OwnColumns | None], Ints, Bools]:
        at = np.full(asked.size, at_us, np.int64)
        table = asked.table(at, ready.shape.keys)
        with self._lock:  # one engine, one request at a time
            made = [None if own is None else own.make(table, at) for own in ready.own]
        if asked.without_key:
            entity_of = ready.made.entity_of
            made = [own and own.but(asked.without_key.get(entity_of[v], ())) for v, own in enumerate(made)]
        cells = [
            each.cells(layout)
            for each, layout in zip(made, ready.made.layouts, strict=True)
            if each is not None
        ]
        return made, np.concatenate([own for own, _ in cells]), np.concatenate([marks for _, marks in cells])


_Folded = tuple[Any, Ints, Ints, Bools, Any, Ints, Bools]


def _own_needed(ready: _Ready) -> list[tuple[str, pa.DataType]]:
    return [pair for own in ready.own if own is not None for pair in own.needed]


def _drop_without_key(records: list[bytes | None], made: OnlineService, asked: Asked) -> None:
    for v in range(len(made.views)):
        for e in asked.without_key.get(made.entity_of[v], ()):
            records[v * asked.size + e] = None


def _too_early(made: OnlineService, at_us: int) -> DataError:
    return DataError(
        f"service {made.service.name!r}: the records do not reach back to the instant that is asked",
        hint="ask for a later instant, or set online.history and backfill",
        at_us=at_us,
    )


def _check(code: int, data: Any, offsets: Ints, made: OnlineService, at_us: int) -> None:
    if code == OVERFLOW:
        raise NumericOverflow(
            f"service {made.service.name!r}: a sum does not fit 64 bits",
            hint="use a smaller decimal scale, or sum a float column",
        )
    if code == EARLY:
        raise _too_early(made, at_us)
    raise bad_record(data, offsets, code)


def _complete(
    answer: Answer, ready: _Ready, asked: Asked, folded: _Folded, own: list[OwnColumns | None]
) -> Answer:
    """The answer with what the kernels do not give: text, lists and maps, and request features."""
    made = ready.made
    data, offsets, out, ok, status, info, stale = folded
    n = asked.size
    columns = {row: _texts(data, out[row], ok[row]) for row in made.plan.texts}
    histories: dict[int, Locator] = {}
    for v, i in made.others:
        if v not in histories:
            mine = slice(int(v * n), int((v + 1) * n) + 1)
            histories[v] = _locator(
                data, offsets[mine], made.layouts[v], answer.at_us, own[v] if own else None
            )
        feature, row = made.views[v].features[i], made.views[v].rows[i]
        there = histories[v]
        columns[row] = evaluate_map(feature, there) if feature.by else evaluate(feature, there).to_arrow()
        missing = info[v * n : (v + 1) * n, 1] == 0
        ok[row] = ~np.asarray(columns[row].is_null().to_numpy(zero_copy_only=False), np.bool_)
        worth = np.where(stale[v], STALE, np.where(ok[row], PRESENT, NULL))
        status[row] = np.where(missing, MISSING, worth)
    whole = Answer(
        answer.service, answer.at_us, made.row_names, made.row_dtypes, out[: len(made.row_names)].T,
        ok[: len(made.row_names)].T, status[: len(made.row_names)].T, columns,
    )  # fmt: skip
    for row, item in enumerate(made.service.features):
        if isinstance(item, RequestFeature):
            columns[row] = _request_feature(item, whole, asked)
            ok[row] = ~np.asarray(columns[row].is_null().to_numpy(zero_copy_only=False), np.bool_)
            status[row] = np.where(ok[row], PRESENT, NULL)
    kept = {row: column for row, column in columns.items() if row < made.width}
    return Answer(
        answer.service, answer.at_us, answer.names, answer.dtypes, answer.values, answer.valid, answer.statuses,
        kept, answer.freshness, answer.view_of,
    )  # fmt: skip


def _texts(data: Any, places: Ints, ok: Bools) -> pa.Array:
    """The texts that stand at places in the records, null where not valid."""
    made: list[str | None] = []
    try:
        for place, there in zip(
            cast("list[int]", places.tolist()), cast("list[bool]", ok.tolist()), strict=True
        ):
            start = place >> 24
            made.append(bytes(data[start : start + (place & 0xFFFFFF)]).decode() if there else None)
    except UnicodeDecodeError as exc:
        raise corrupt() from exc
    return pa.array(made, pa.string())


def _locator(data: Any, offsets: Ints, layout: Layout, at_us: int, own: OwnColumns | None) -> Locator:
    history = unpack_history(data, offsets, layout)
    n = offsets.size - 1
    at, group = np.full(n, at_us, np.int64), np.arange(n)
    codes = np.empty(0, np.int64)
    if own is not None:
        keys = (own.key_low, own.key_high, own.keyed)
        history = with_own_rows(history, at, own.columns, own.predicates, keys)
        codes = np.where(own.keyed, np.arange(n), -1)
        group = np.where(own.counts, group, -1)
    return Locator(history, Queries(group, at, at, codes))


def _request_feature(item: RequestFeature, whole: Answer, asked: Asked) -> pa.Array:
    inputs: dict[str, pa.Array] = {ref.name: whole.arrow(ref.name) for ref in item.inputs}
    inputs |= {name: asked.request[name] for name, _ in item.request}
    at: Array = np.full(asked.size, whole.at_us, np.int64)
    return request_column(item, inputs, at, asked.size)
