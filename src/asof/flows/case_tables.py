"""Tables of a case's events: its rows in the types of the source's own columns, as the history that they replace.

Types come from the case's `types`, else from the project's files, else (where files are out of reach, as mostly in
CI) from the definitions and the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

import pyarrow as pa

from asof.compute.arrow import arrow_type
from asof.define.case import Case, Row
from asof.define.source import CSV, Events, InMemory, Landed, parts_of
from asof.define.substitute import changed
from asof.engines.duckdb import DuckDBEngine
from asof.engines.files import is_remote
from asof.errors import (
    AsofError,
    BackendError,
    CorruptSource,
    DefinitionError,
    SourceNotFound,
    UnknownName,
    did_you_mean,
)
from asof.flows.case_files import line_of
from asof.flows.case_hints import Hint, Use, columns_read
from asof.flows.case_values import column, infer, shown, typed
from asof.types import DType

Types = dict[str, pa.DataType]


@dataclass
class Schemas:
    """The columns of the project's histories, each looked up once; what is out of reach stays so.

    `uses` is all that the project computes: it tells of columns whose files are out of reach.
    """

    engine: DuckDBEngine
    uses: Sequence[Use]
    _hints: dict[str, dict[str, Hint]] = field(default_factory=dict[str, "dict[str, Hint]"])
    _found: dict[str, Types | None] = field(default_factory=dict[str, Types | None])
    errors: dict[str, AsofError] = field(default_factory=dict[str, AsofError])
    _offline: AsofError | None = (
        None  # what the object store said; it is not asked again, for that takes long
    )

    def find(self, source: Events) -> Types | None:
        """The columns of a source's history, derived ones not included, or None where it cannot be reached."""
        if source.name not in self._found:
            self._found[source.name] = self._look_up(source)
        return self._found[source.name]

    def _look_up(self, source: Events) -> Types | None:
        far = any(is_remote(path) for path in getattr(source.history, "paths", ()))
        if far and self._offline is not None:
            self.errors[source.name] = self._offline
            return None
        try:
            return self.engine.raw_schema(source)
        except (SourceNotFound, CorruptSource, BackendError) as exc:
            self.errors[source.name] = exc
            self._offline = exc if far and isinstance(exc, BackendError) else self._offline
            return None

    def hints(self, source: Events) -> dict[str, Hint]:
        """What definitions tell of the columns of a source's history; see `columns_read`."""
        if source.name not in self._hints:
            self._hints[source.name] = columns_read(source, self.uses, self.engine)
        return self._hints[source.name]


def known_types(schemas: Schemas, cases: Sequence[Case]) -> dict[str, Types]:
    """Source name -> the columns of its history, of every source of which they can be known: from its files, or where
    these are out of reach from the definitions and the cases' `types`.
    """
    parts = [part for use in schemas.uses for part in parts_of(use.source)]
    made: dict[str, Types] = {}
    for source in {part.source.name: part.source for part in parts}.values():
        found = schemas.find(source) or _declared(schemas, source, cases)
        if found is not None:
            made[source.name] = found
    return made


def _declared(schemas: Schemas, source: Events, cases: Sequence[Case]) -> Types | None:
    declared = csv_types(source)
    for case in cases:
        declared |= declared_types(case, source.name)
    made: Types = {}
    for name, (firm, _) in schemas.hints(source).items():
        arrow = declared.get(name, firm)
        if arrow is None:
            return None
        made[name] = arrow
    return made


def tables_of(case: Case, uses: Sequence[Use], schemas: Schemas) -> dict[str, Events]:
    """Every source that is used, over the case's rows of it; a source without rows is empty.

    Raises:
        DefinitionError: a column that the source does not have, or a value that does not fit it.
    """
    made: dict[str, Events] = {}
    for source in {part.source.name: part.source for use in uses for part in parts_of(use.source)}.values():
        rows = case.events.get(source.name, ())
        types = history_types(case, source, rows, schemas) or _guessed(
            case, source, rows, schemas.hints(source)
        )
        table = events_table(case, source, rows, types)
        made[source.name] = changed(source, history=InMemory(table, source.name), stream=None)
    return made


def history_types(case: Case, source: Events, rows: Sequence[Row], schemas: Schemas) -> Types | None:
    """The columns of a source as its files have them, with the case's own types; None where out of reach."""
    found, declared = schemas.find(source), declared_types(case, source.name)
    if found is None:
        return None
    for row in (*rows, declared):
        for name in row:
            if name not in found:
                where = _where(case, row, name)
                raise UnknownName(
                    f"{where}: source {source.name!r} has no column {name!r}",
                    hint=did_you_mean(name, found),
                    column=name,
                )
    return {**found, **declared}


def declared_types(case: Case, source: str) -> Types:
    """The types that a case gives to columns of a source."""
    made: Types = {}
    for name, text in case.types.get(source, {}).items():
        try:
            made[name] = arrow_type(DType.parse(text))
        except (ValueError, AttributeError) as exc:
            hint = (
                exc.hint
                if isinstance(exc, DefinitionError)
                else "decimal(18,2), int64, string, timestamp, ..."
            )
            where = f"{case.words}: types of {source!r}: {name!r}"
            raise DefinitionError(f"{where}: {text!r} is no type", hint=hint, column=name) from exc
    return made


def events_table(case: Case, source: Events, rows: Sequence[Row], types: Types) -> pa.Table:
    """The rows as a table of these columns; a column that a row leaves out is null."""
    columns = {
        name: typed_column(case, f"source {source.name!r}", rows, name, arrow, source.zone)
        for name, arrow in types.items()
    }
    return pa.table(columns)


def typed_column(
    case: Case, what: str, rows: Sequence[Row], name: str, arrow: pa.DataType, zone: str | None = None
) -> pa.Array:
    """One column of rows in its type.

    Raises:
        DefinitionError: a value that does not fit; it is told with its row.
    """
    values: list[object] = []
    for row in rows:
        try:
            values.append(typed(row.get(name), arrow, zone))
        except (ValueError, TypeError, ArithmeticError) as exc:
            raise DefinitionError(
                f"{_where(case, row, name)}: {what}: column {name!r} is {arrow}, {shown(row.get(name))!r} is not",
                hint=_value_hint(arrow),
                column=name,
            ) from exc
    try:
        return column(values, arrow)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as exc:
        raise DefinitionError(
            f"{case.words}: {what}: a value of column {name!r} does not fit {arrow}", column=name
        ) from exc


def _where(case: Case, row: Mapping[str, object], name: str) -> str:
    line = line_of(row, name)
    return case.words if line is None else f"{case.file}:{line}: case {case.name!r}"


def _value_hint(arrow: pa.DataType) -> str | None:
    if pa.types.is_timestamp(arrow):
        return "write a time as 2025-03-01T09:30:00Z"
    if pa.types.is_date(arrow):
        return "write a date as 2025-03-01"
    return "quote text that looks like something else" if pa.types.is_string(arrow) else None


def _guessed(case: Case, source: Events, rows: Sequence[Row], hints: Mapping[str, Hint]) -> Types:
    """The columns that a case names or that definitions read, with types from both."""
    types: Types = {}
    for name in dict.fromkeys([*(name for row in rows for name in row), *hints]):
        values = [row.get(name) for row in rows]
        firm, weak = hints.get(name, (None, None))
        own = [row.get(name) for row in case.expect]  # a service's own rows may be the only ones that have it
        seen = _numbers(values) if weak == pa.float64() else None
        seen = seen or infer(values) or infer(own)
        types[name] = firm or seen or weak or _one_type(case, source, name, values)
    return {**types, **csv_types(source), **declared_types(case, source.name)}


def _numbers(values: Sequence[object]) -> pa.DataType | None:
    """The type of numbers that were written as text, in a column that has to hold numbers."""
    try:
        return infer([Decimal(value) if isinstance(value, str) else value for value in values])
    except InvalidOperation:
        return None


def csv_types(source: Events) -> Types:
    """The types that a source itself gives to columns of its CSV files, or of its stream's events."""
    history = source.history
    return {n: arrow_type(dtype) for n, dtype in history.columns} if isinstance(history, CSV | Landed) else {}


def _one_type(case: Case, source: Events, name: str, values: Sequence[object]) -> pa.DataType:
    if any(value is not None for value in values):
        hint = f"say it: types: {{{source.name}: {{{name}: string}}}}"
        raise DefinitionError(
            f"{case.words}: source {source.name!r}: values of column {name!r} have no one type", hint=hint
        )
    return pa.null()
