"""Running cases: the project's real definitions over a case's own events, through the real engine, in memory.

A case becomes an ordinary training set: its `expect` rows are the spine, its sources' histories are replaced
(`define/substitute.py`, `case_tables.py`), and what comes out is compared value by value (`case_values.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import pyarrow as pa

from asof.clock import from_us, parse_time
from asof.compute.arrow import arrow_type
from asof.define.aggregation import count
from asof.define.case import Case, Row
from asof.define.deprecated import DeprecatedDefinition
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.label import Label
from asof.define.service import FeatureService, Item
from asof.define.source import Events, Mapped, Union, parts_of
from asof.define.substitute import Substitution
from asof.errors import AsofError, DefinitionError, UnknownName, did_you_mean
from asof.flows.case_files import line_of
from asof.flows.case_hints import Use, use_of
from asof.flows.case_result import CaseResult, Difference, known_events
from asof.flows.case_tables import Schemas, Types, tables_of, typed_column
from asof.flows.case_values import agrees
from asof.flows.load import Definitions
from asof.flows.project import Project
from asof.types import DType
from asof.usage import NullMeter

AT = "at"
_APPROXIMATE = {"approx_distinct"}


@dataclass(frozen=True)
class _Asked:
    """What a case asks, over its own events."""

    service: FeatureService
    labels: tuple[Label, ...]
    keys: Mapping[str, DType]
    inputs: Types
    always: set[str]  # the inputs that the spine has even if no row names them
    outputs: tuple[str, ...]


class CaseRunner:
    """Runs cases on a project's definitions; looks up the columns of its sources once.

    Example:
        >>> from asof import CSV, Entity, Events, FeatureView, count
        >>> account = Entity("account", keys={"account_id": "string"})
        >>> payments = Events("payments", CSV("none.csv"), event_time="paid_at")
        >>> view = FeatureView("activity", entity=account, source=payments, features=[count().over("7d")])
        >>> case = Case(
        ...     "one payment",
        ...     view="activity",
        ...     events={"payments": [{"account_id": "ann", "paid_at": "2025-03-01"}]},
        ...     expect=[{"account_id": "ann", "at": "2025-03-02", "count_7d": 1}],
        ... )
        >>> CaseRunner(Project([view])).run(case).passed
        True
    """

    def __init__(self, project: Project) -> None:
        self.definitions: Definitions = project.definitions
        self.project = Project(config=project.config, meter=NullMeter(), clock=project.clock)
        self._engine = project.engine()
        owners = [*self.definitions.list("feature_view"), *self.definitions.list("label")]
        self.schemas = Schemas(
            self._engine, [use_of(owner) for owner in cast("list[FeatureView | Label]", owners)]
        )

    def close(self) -> None:
        """Let go of what was opened to look up columns."""
        self._engine.close()

    def run(self, case: Case) -> CaseResult:
        """The case's result; never raises what asof raises."""
        try:
            return self._run(case)
        except AsofError as exc:
            return CaseResult(case, error=exc)

    def training_set(
        self,
        service: FeatureService,
        spine: pa.Table,
        labels: Sequence[Label] = (),
        *,
        as_known: bool = True,
        cutoff: datetime | None = None,
        time: str | None = None,
    ) -> pa.Table:
        """The project's training set with all rows of the spine; to test what is deprecated is no use of it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecatedDefinition)
            return self.project.training_set(
                service,
                spine=spine,
                labels=labels,
                time=time,
                as_known=as_known,
                cutoff=cutoff,
                immature="null",
            ).table

    def _run(self, case: Case) -> CaseResult:
        _check_sources(case, self.definitions)
        service, labels = _found(case, self.definitions)
        uses = uses_of(service, labels)
        sources = tables_of(case, uses, self.schemas)
        asked = self._asked(service, labels, Substitution(sources))
        spine, wanted = _spine(case, asked)
        cutoff = None if case.cutoff is None else from_us(parse_time(case.cutoff))
        made = self.training_set(asked.service, spine, asked.labels, cutoff=cutoff, time=AT)
        differences = list(_compare(case, asked, made, wanted))
        told = tuple(replace(each, known=_known(case, uses, sources, each)) for each in differences)
        return CaseResult(case, sum(map(len, wanted)), told)

    def _asked(self, service: FeatureService, labels: Sequence[Label], over: Substitution) -> _Asked:
        made = over.service(service)
        entities = [*made.entities, *(label.entity for label in labels)]
        keys = {name: dtype for entity in entities for name, dtype in entity.keys}
        outputs = (*made.names, *(label.name for label in labels))
        inputs = {name: arrow_type(dtype) for name, dtype in made.request.items()}
        always = set(inputs)
        if made.own_row is not None:
            part = parts_of(made.own_row)[0]
            own = self._own_columns(part, {*keys, *outputs, *inputs, AT})
            computed = set(dict(part.source.columns)) if isinstance(made.own_row, Events) else set[str]()
            always |= {name for name in own if name not in {part.source.event_time, *computed}}
            inputs |= own
        return _Asked(made, tuple(over.label(label) for label in labels), keys, inputs, always, outputs)

    def _own_columns(self, part: Mapped, taken: set[str]) -> Types:
        """The columns that an own row may bring: those of the source as it is read."""
        engine = self.project.engine()
        try:
            return {name: arrow for name, arrow in engine.schema(part).items() if name not in taken}
        finally:
            engine.close()


def uses_of(service: FeatureService, labels: Sequence[Label]) -> list[Use]:
    """What a service and labels compute; a view that is asked in part is read as a whole where it is revised."""
    views = dict.fromkeys(ref.view for ref in service.refs)
    return [*map(use_of, views), *map(use_of, labels)]


def _check_sources(case: Case, definitions: Definitions) -> None:
    """Refuses rows for a source that the project does not have, or for a union as a whole."""
    sources = {s.name: s for s in cast("list[Events | Union]", definitions.list("source"))}
    parts = {part.source.name for source in sources.values() for part in parts_of(source)}
    for kind, names in (("events", case.events), ("types", case.types)):
        for name in names:
            if name in parts:
                continue
            where = f"{case.words}: {kind} of"
            union = sources.get(name)
            if union is not None:
                hint = f"its parts: {', '.join(part.source.name for part in parts_of(union))}"
                raise DefinitionError(f"{where} the union {name!r}", hint=hint, source=name)
            hint = did_you_mean(name, parts)
            raise UnknownName(f"{where} {name!r}, which is no source", hint=hint, source=name)


def _found(case: Case, definitions: Definitions) -> tuple[FeatureService, tuple[Label, ...]]:
    try:
        labels = tuple(cast("Label", definitions.get("label", name)) for name in case.labels)
        if case.service is not None:
            return cast("FeatureService", definitions.get("feature_service", case.service)), labels
        views: list[Item] = [
            cast("FeatureView", definitions.get("feature_view", name)) for name in case.views
        ]
        return FeatureService("features", views or [_any_of(labels[0])]), labels
    except DefinitionError as exc:
        raise type(exc)(f"{case.words}: {exc.message}", hint=exc.hint, **exc.facts) from exc


def _any_of(label: Label) -> FeatureView:
    """Something to ask of a label's source, for a case that asks for the label alone."""
    counted = count().over("lifetime").named("asof_rows")
    return FeatureView(
        "features", entity=label.entity, source=label.source, features=[counted], keys=dict(label.keys)
    )


def _spine(case: Case, asked: _Asked) -> tuple[pa.Table, list[dict[str, object]]]:
    """The rows that ask, as a table, and what each of them expects."""
    wanted: list[dict[str, object]] = []
    named = set(asked.always)
    for row in case.expect:
        _check_row(case, asked, row)
        wanted.append({name: value for name, value in row.items() if name in asked.outputs})
        named |= row.keys() & asked.inputs.keys()
    types: Types = {name: arrow_type(dtype) for name, dtype in asked.keys.items()}
    types[AT] = pa.timestamp("us", "UTC")
    types |= {name: arrow for name, arrow in asked.inputs.items() if name in named}
    columns = {name: typed_column(case, "expect", case.expect, name, arrow) for name, arrow in types.items()}
    return pa.table(columns), wanted


def _check_row(case: Case, asked: _Asked, row: Row) -> None:
    allowed = {*asked.keys, AT, *asked.inputs, *asked.outputs}
    line = line_of(row)
    where = case.words if line is None else f"{case.file}:{line}: case {case.name!r}"
    for name in row:
        if name not in allowed:
            hint = did_you_mean(name, allowed)
            raise UnknownName(f"{where}: expect: nothing is named {name!r}", hint=hint, column=name)
    for name in (*asked.keys, AT):
        if name not in row:
            raise DefinitionError(
                f"{where}: expect: a row without {name!r}", hint=f"{name}: who or when it is"
            )
    if not row.keys() & set(asked.outputs):
        hint = f"values of {', '.join(asked.outputs[:6])}"
        raise DefinitionError(f"{where}: expect: a row that expects nothing", hint=hint)


def _compare(
    case: Case, asked: _Asked, table: pa.Table, wanted: Sequence[Mapping[str, object]]
) -> Iterable[Difference]:
    columns = {name: table[name].to_pylist() for row in wanted for name in row}
    loose = {name: _tolerance(case, asked, table, name) for name in columns}
    for number, row in enumerate(wanted):
        for name, expected in row.items():
            got = columns[name][number]
            if not agrees(got, expected, loose[name]):
                given = case.expect[number]
                who = {key: given[key] for key in (*asked.keys, AT)}
                yield Difference(number, line_of(given, name), who, name, expected, got)


def _known(
    case: Case, uses: Sequence[Use], sources: Mapping[str, Events], difference: Difference
) -> tuple[tuple[str, dict[str, object]], ...]:
    row = case.expect[difference.row]
    return known_events(case, uses, sources, row, case.cutoff if case.labels else row[AT])


def _tolerance(case: Case, asked: _Asked, table: pa.Table, name: str) -> float | None:
    """The case's tolerance where a value is a float or approximate; None where it is exact."""
    refs = {ref.name: ref.feature for ref in asked.service.features if isinstance(ref, FeatureRef)}
    approximate = name in refs and refs[name].function in _APPROXIMATE
    return case.tolerance if approximate or "double" in str(table.schema.field(name).type) else None
