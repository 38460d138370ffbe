"""What a read is asked for: key columns and request columns, checked and in the form that the store and kernels take.

Messages name columns, positions and types, never a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Ints
from asof.define.entity import Entity
from asof.define.service import FeatureService
from asof.errors import DataError, LimitError, MissingColumn, UnknownName, WrongType, did_you_mean
from asof.online.keys import encode_keys

TIME = "event_time"
_PYTHON = {"string": str, "int32": int, "int64": int, "bool": bool}
_SPAN = {"int32": 2**31, "int64": 2**63}
_NONE: dict[Entity, tuple[int, ...]] = {}


@dataclass(frozen=True)
class Asked:
    """The entities of a read as record keys, and its request columns; `without_key` are rows with a null key."""

    size: int
    keys: Mapping[Entity, list[bytes]]
    columns: Mapping[str, Sequence[Any]]
    request: Mapping[str, pa.Array]
    without_key: Mapping[Entity, tuple[int, ...]] = field(default_factory=lambda: _NONE)

    def table(self, at: Ints) -> pa.Table:
        """Keys and request columns as a table, with the instants."""
        columns: dict[str, Any] = {name: pa.array(values) for name, values in self.columns.items()}
        columns |= self.request
        columns[TIME] = pa.array(at).cast(pa.timestamp("us", "UTC"))
        return pa.table(columns)


def ask(
    service: FeatureService,
    types: Mapping[str, Any],
    entities: Mapping[str, Sequence[Any]],
    request: Mapping[str, Sequence[Any]] | None,
    *,
    limit: int,
) -> Asked:
    """The request of a read, checked; `types` are the Arrow types of the request columns.

    Raises:
        MissingColumn, UnknownName, WrongType, DataError, LimitError: see `OnlineReader.read`.
    """
    wanted = service.key_kinds
    if entities.keys() != wanted.keys():
        _wrong_names("entity key", service.name, wanted, entities)
    size = _size(entities, request)
    if size > limit:
        raise LimitError(
            f"{size:,} entities are asked, and one read takes {limit:,}",
            hint="ask in several reads",
            limit=limit,
            seen=size,
        )
    given = request or {}
    if given.keys() != types.keys():
        _wrong_names("request column", service.name, types, given)
    keys: dict[Entity, list[bytes]] = {}
    nulls: dict[Entity, tuple[int, ...]] = {}
    for entity in service.entities:
        try:
            keys[entity] = _keys(entity, entities)
        except (AttributeError, TypeError, UnicodeError):
            keys[entity], without = _checked_keys(entity, entities)
            if without:
                nulls[entity] = without
    columns = {name: _typed(name, given[name], arrow) for name, arrow in types.items()}
    return Asked(size, keys, entities, columns, nulls or _NONE)


def _keys(entity: Entity, entities: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """The keys of entities whose parts are of the right types; raises TypeError or AttributeError otherwise."""
    kinds = [dtype.kind for _, dtype in entity.keys]
    columns = [entities[name] for name in entity.keys.names]
    for kind, values in zip(kinds, columns, strict=True):
        expected = _PYTHON.get(kind)
        if expected is None or not all([type(value) is expected for value in values]):
            raise TypeError
        span = _SPAN.get(kind)
        if span is not None and not all(-span <= value < span for value in values):
            raise TypeError
    return encode_keys(kinds, columns)


def _checked_keys(
    entity: Entity, entities: Mapping[str, Sequence[Any]]
) -> tuple[list[bytes], tuple[int, ...]]:
    """The keys of entities with nulls or of other Python types: through Arrow, as a spine's keys go."""
    columns: list[list[Any]] = []
    for name, dtype in entity.keys:
        columns.append(_plain(name, entities[name], dtype))
    rows = list(zip(*columns, strict=True))
    without = tuple(i for i, row in enumerate(rows) if None in row)
    kinds = [dtype.kind for _, dtype in entity.keys]
    filler = {"string": "", "bool": False, "int32": 0, "int64": 0}
    filled = [
        [filler.get(kind, 0) if value is None else value for value in column]
        for kind, column in zip(kinds, columns, strict=True)
    ]
    if "date" in kinds:
        return [
            encode_keys(kinds, [[value] for value in row])[0] if None not in row else b"" for row in rows
        ], without
    return encode_keys(kinds, filled), without


def _plain(name: str, values: Sequence[Any], dtype: Any) -> list[Any]:
    from_numpy = values.tolist() if isinstance(values, np.ndarray) else values
    made = _typed(name, from_numpy, _arrow_of(dtype.kind))
    return cast("list[Any]", made.to_pylist())


def _arrow_of(kind: str) -> Any:
    return {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "date": pa.date32(),
        "bool": pa.bool_(),
    }[kind]


def _typed(name: str, values: Any, arrow: Any) -> pa.Array:
    try:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            whole: Any = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
            return whole.cast(arrow)
        if pa.types.is_decimal(arrow) or pa.types.is_temporal(arrow):
            return pa.array(values).cast(arrow)
        return pa.array(values, arrow)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        OverflowError,
        ValueError,
    ) as exc:
        position = next((i for i, value in enumerate(values) if not _fits(value, arrow)), None)
        where = "" if position is None else f" at position {position}"
        raise WrongType(
            f"column {name!r}: a value{where} is no {arrow}",
            column=name,
            position=position,
            expected=str(arrow),
        ) from exc


def _fits(value: Any, arrow: Any) -> bool:
    try:
        pa.array([value]).cast(arrow) if value is not None else None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError):
        return False
    return True


def _size(entities: Mapping[str, Sequence[Any]], request: Mapping[str, Sequence[Any]] | None) -> int:
    lengths = {name: len(values) for name, values in (*entities.items(), *(request or {}).items())}
    size = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != size:
            raise DataError(
                f"column {name!r} has {length} values, and {next(iter(lengths))!r} has {size}", column=name
            )
    return size


def _wrong_names(what: str, service: str, wanted: Mapping[str, Any], given: Mapping[str, Any]) -> None:
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
