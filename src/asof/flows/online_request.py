"""What a read is asked for: key columns and request columns, checked and in the form that the store and kernels take.

Messages name columns, positions and types, never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Ints
from asof.compute.arrow import cast_numbers
from asof.define.entity import Entity
from asof.define.service import FeatureService
from asof.errors import DataError, LimitError, MissingColumn, UnknownName, WrongType, did_you_mean
from asof.online.keys import encode_keys

TIME = "event_time"
_PYTHON = {"string": str, "int32": int, "int64": int, "bool": bool}
_SPAN = {"int32": 2**31, "int64": 2**63}
_ARROW: dict[str, Any] = {
    "string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "date": pa.date32(), "bool": pa.bool_(),
}  # fmt: skip
_REFUSED = (
    pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError, TypeError,
)  # fmt: skip
_ROUNDED = 1e-9  # of a float that stands for a decimal: what its binary form is off
_TESTS: Mapping[str, Callable[[Any], bool]] = {
    "bool": pa.types.is_boolean, "int": pa.types.is_integer, "float": pa.types.is_floating,
    "decimal": pa.types.is_decimal, "time": pa.types.is_temporal,
    "text": lambda arrow: pa.types.is_string(arrow) or pa.types.is_large_string(arrow),
}  # fmt: skip
_KINDS: Mapping[str, frozenset[str]] = {
    "bool": frozenset({"bool"}),
    "int": frozenset({"int", "float"}),  # 3.0 is 3; Arrow refuses 3.5
    "float": frozenset({"int", "float", "decimal"}),
    "decimal": frozenset({"int", "float", "decimal", "text"}),
    "time": frozenset({"time", "text"}),
    "text": frozenset({"text"}),
    "other": frozenset({"other"}),
}
"""Which kinds of values a type takes."""
_NO_NULLS: Mapping[int, tuple[int, ...]] = {}
_NO_REQUEST: Mapping[str, pa.Array] = {}
_NOTHING: Mapping[str, Sequence[Any]] = {}


@dataclass(frozen=True)
class Shape:
    """What a read of one service has to bring: key columns with their kinds, the key columns and kinds of each entity,
    and the Arrow types of request columns.
    """

    service: str
    keys: Mapping[str, str]
    entities: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    types: Mapping[str, Any]
    one_key: (
        tuple[str, str] | None
    )  # the name and kind of the only key column of reads that bring nothing else

    @classmethod
    def of(cls, service: FeatureService, entities: Sequence[Entity], types: Mapping[str, Any]) -> Shape:
        """The shape of a service's reads."""
        parts = tuple((each.keys.names, tuple(dtype.kind for _, dtype in each.keys)) for each in entities)
        keys = {name: dtype.kind for each in entities for name, dtype in each.keys}
        lean = len(keys) == 1 and len(parts) == 1 and not types and next(iter(keys.values())) in _PYTHON
        return cls(service.name, keys, parts, types, next(iter(keys.items())) if lean else None)


class Asked(NamedTuple):
    """The entities of a read as record keys, entity by entity of the shape, and its request columns; `without_key` are
    rows with a null key.
    """

    size: int
    keys: Sequence[list[bytes]]
    columns: Mapping[str, Sequence[Any]]
    request: Mapping[str, pa.Array]
    without_key: Mapping[int, tuple[int, ...]]

    def part(self, start: int, stop: int) -> Asked:
        """The same for the entities `start` to `stop`."""
        nulls = {
            place: tuple(row - start for row in rows if start <= row < stop)
            for place, rows in self.without_key.items()
        }
        return Asked(
            stop - start,
            [keys[start:stop] for keys in self.keys],
            {name: values[start:stop] for name, values in self.columns.items()},
            {name: column.slice(start, stop - start) for name, column in self.request.items()},
            {place: rows for place, rows in nulls.items() if rows},
        )

    def table(self, at: Ints, kinds: Mapping[str, str]) -> pa.Table:
        """Keys (of these kinds, null or not) and request columns as a table, with the instants."""
        columns: dict[str, Any] = {
            name: _arrow_keys(name, values, kinds[name]) for name, values in self.columns.items()
        }
        columns |= self.request
        columns[TIME] = pa.array(at).cast(pa.timestamp("us", "UTC"))
        return pa.table(columns)


def ask(
    shape: Shape,
    entities: Mapping[str, Sequence[Any]],
    request: Mapping[str, Sequence[Any]] | None,
    *,
    limit: int,
) -> Asked:
    """The request of a read, checked.

    Raises:
        MissingColumn, UnknownName, WrongType, DataError, LimitError: see `OnlineReader.read`.
    """
    if shape.one_key is not None and not request and len(entities) == 1:
        values = entities.get(shape.one_key[0])
        if (
            values is not None
            and len(values) <= limit
            and (made := _one_key(shape.one_key[1], values)) is not None
        ):
            return Asked(len(values), [made], entities, _NO_REQUEST, _NO_NULLS)
    if entities.keys() != shape.keys.keys():
        _check_names("entity key", shape.service, shape.keys, entities)
    given = request or _NOTHING
    if given.keys() != shape.types.keys():
        _check_names("request column", shape.service, shape.types, given)
    size = _size(entities, given)
    if size > limit:
        raise LimitError(
            f"{size:,} entities are asked, and one read takes {limit:,}",
            hint="ask in several reads",
            limit=limit,
            seen=size,
        )
    keys: list[list[bytes]] = []
    nulls: Mapping[int, tuple[int, ...]] = _NO_NULLS
    for names, kinds in shape.entities:
        try:
            keys.append(_keys(names, kinds, entities))
        except (TypeError, UnicodeError):
            checked, without = _checked_keys(names, kinds, entities)
            if without:
                nulls = {**nulls, len(keys): without}
            keys.append(checked)
    columns = {name: _typed(name, given[name], arrow) for name, arrow in shape.types.items()}
    return Asked(size, keys, entities, columns, nulls)


def _one_key(kind: str, values: Sequence[Any]) -> list[bytes] | None:
    """The keys where all values are as they should be, else None: the way of nearly every read."""
    expected, span = _PYTHON[kind], _SPAN.get(kind)
    for value in values:
        if type(value) is not expected or (span is not None and not -span <= cast("int", value) < span):
            return None
    try:
        return encode_keys((kind,), (values,))
    except UnicodeError:
        return None


def _keys(
    names: tuple[str, ...], kinds: tuple[str, ...], entities: Mapping[str, Sequence[Any]]
) -> list[bytes]:
    """The keys of entities whose parts are of the right Python types; raises TypeError otherwise."""
    columns = [entities[name] for name in names]
    for kind, values in zip(kinds, columns, strict=True):
        expected = _PYTHON.get(kind)
        for value in values:
            if type(value) is not expected:
                raise TypeError
        span = _SPAN.get(kind)
        if span is not None and values and not -span <= min(values) <= max(values) < span:
            raise TypeError
    return encode_keys(kinds, columns)


def _checked_keys(
    names: tuple[str, ...], kinds: tuple[str, ...], entities: Mapping[str, Sequence[Any]]
) -> tuple[list[bytes], tuple[int, ...]]:
    """The keys of entities with nulls or of other Python types: through Arrow, as a spine's keys go."""
    columns = [_plain(name, entities[name], kind) for name, kind in zip(names, kinds, strict=True)]
    rows = list(zip(*columns, strict=True))
    without = tuple(i for i, row in enumerate(rows) if None in row)
    made = [b"" if None in row else encode_keys(kinds, [[value] for value in row])[0] for row in rows]
    return made, without


def _plain(name: str, values: Sequence[Any], kind: str) -> list[Any]:
    return cast("list[Any]", _arrow_keys(name, values, kind).to_pylist())


def _arrow_keys(name: str, values: Sequence[Any], kind: str) -> pa.Array:
    from_numpy = values.tolist() if isinstance(values, np.ndarray) else values
    return _typed(name, from_numpy, _ARROW[kind])


def _typed(name: str, values: Any, arrow: Any) -> pa.Array:
    try:
        return _converted(values, arrow)
    except _REFUSED as exc:
        position = next((i for i, value in enumerate(values) if not _fits(value, arrow)), None)
        where = "" if position is None else f" at position {position}"
        raise WrongType(
            f"column {name!r}: a value{where} is no {arrow}",
            column=name,
            position=position,
            expected=str(arrow),
        ) from exc


def _converted(values: Any, arrow: Any) -> pa.Array:
    """Values as an Arrow array of a type; nothing is cut off, rounded, or read as another kind of thing.

    Raises one of `_REFUSED`. Text stands for times, dates and decimals, as JSON has no other way; numbers do not.
    """
    whole: Any = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    seen: Any = whole if isinstance(whole, pa.Array) else pa.array(whole)
    if pa.types.is_null(seen.type) or seen.type == arrow:
        return seen.cast(arrow)
    if not _KINDS[_kind(arrow)] >= {_kind(seen.type)}:
        raise pa.ArrowInvalid("another kind of value")
    if pa.types.is_integer(seen.type) and pa.types.is_decimal(arrow):
        seen = seen.cast(pa.decimal128(38, arrow.scale))  # wide enough for whatever stands there
    made = cast_numbers(seen, arrow)
    if pa.types.is_floating(seen.type) and pa.types.is_decimal(arrow):
        apart = np.abs(np.asarray(cast_numbers(made, pa.float64())) - np.asarray(seen.cast(pa.float64())))
        if (
            np.nanmax(apart / np.maximum(np.abs(np.asarray(seen.cast(pa.float64()))), 1.0), initial=0.0)
            > _ROUNDED
        ):
            raise pa.ArrowInvalid("more digits than the type has")
    return made


def _kind(arrow: Any) -> str:
    for kind, test in _TESTS.items():
        if test(arrow):
            return kind
    return "other"


def _fits(value: Any, arrow: Any) -> bool:
    try:
        _converted([value], arrow)
    except _REFUSED:
        return False
    return True


def _size(entities: Mapping[str, Sequence[Any]], request: Mapping[str, Sequence[Any]]) -> int:
    size = -1
    for columns in (entities, request):
        for name, values in columns.items():
            if size < 0:
                size = len(values)
            elif len(values) != size:
                raise DataError(f"column {name!r} has {len(values)} values, another {size}", column=name)
    return size


def _check_names(what: str, service: str, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in wanted:
        if name not in given:
            raise MissingColumn(
                f"service {service!r}: no {what} {name!r}",
                hint=f"it needs: {', '.join(wanted)}",
                column=name,
                allowed=list(wanted),
            )
    for name in given:
        if name not in wanted:
            hint = did_you_mean(str(name), wanted) or "it takes none"
            raise UnknownName(
                f"service {service!r} has no {what} {str(name)!r}",
                hint=hint,
                column=str(name),
                allowed=list(wanted),
            )
