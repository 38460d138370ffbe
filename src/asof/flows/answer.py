"""What an online read answers: values in the order of the service, what each of them is worth, and how fresh it is.

Values are kept as the kernels leave them; they become NumPy, Arrow or Python when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, cast, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from asof.compute.arrays import Array, Bools, Ints
from asof.compute.arrow import arrow_type, physical_to_arrow
from asof.compute.fold_features import EXPIRED, MISSING, NULL, PRESENT, STALE
from asof.define.window import BEGIN_US
from asof.errors import UnknownName, did_you_mean
from asof.flows.request import to_numpy
from asof.types import DType

__all__ = [
    "EXPIRED",
    "MISSING",
    "NULL",
    "PRESENT",
    "STALE",
    "STATUSES",
    "Answer",
    "Freshness",
    "Freshnesses",
    "joined",
]
STATUSES = ("present", "null", "missing", "expired", "stale")
"""What a value is worth: there; null; of an entity that the view has no record of; null because older than its ttl; of
a view whose watermark is older than the service's `max_age`."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Freshness:
    """How fresh a view is: everything known before `watermark_us` is in, and `newest_us` is the newest event time of
    each entity (BEGIN_US: it has no events). Shape: `(n,)` entities.
    """

    view: str
    watermark_us: int
    newest_us: Ints
    held_us: Ints | None = None

    @property
    def known_before_us(self) -> Ints:
        """For each entity until when what was known is in its value: the watermark, or further where a record is
        ahead of it (a run that is under way writes records first and the watermark last).
        """
        if self.held_us is None:
            return np.full(self.newest_us.size, self.watermark_us)
        return np.maximum(self.held_us, self.watermark_us)

    def ages_s(self, at_us: int) -> list[float | None]:
        """Seconds since each entity's newest event, None where it has none."""
        return [
            None if us <= BEGIN_US else (at_us - us) / 1e6
            for us in cast("list[int]", self.newest_us.tolist())
        ]


class Freshnesses(Sequence[Freshness]):
    """The freshness of the views of a read, made when it is looked at; `info` is that of `fold_records`."""

    __slots__ = ("_info", "_made", "_size", "_views", "_watermarks")

    def __init__(self, views: Sequence[str], watermarks: Sequence[int], info: Ints, size: int) -> None:
        self._views, self._watermarks, self._info, self._size = views, watermarks, info, size
        self._made: list[Freshness] | None = None

    def __len__(self) -> int:
        return len(self._views)

    @overload
    def __getitem__(self, index: int) -> Freshness: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Freshness]: ...

    def __getitem__(self, index: int | slice) -> Freshness | Sequence[Freshness]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Freshness]:
        return iter(self._all())

    def _all(self) -> list[Freshness]:
        if self._made is None:
            newest, held, n = self._info[:, 0], self._info[:, 2], self._size
            self._made = [
                Freshness(view, watermark_us, newest[v * n : (v + 1) * n], held[v * n : (v + 1) * n])
                for v, (view, watermark_us) in enumerate(zip(self._views, self._watermarks, strict=True))
            ]
        return self._made


# Not frozen: setting ten frozen fields takes a microsecond of the thirty that a read has.
@dataclass(eq=False)
class Answer:
    """The features of n entities, in the order in which they were asked.

    Shape: `values` and `valid` are `(n, f)`; a float column of `values` holds the bits of float64, an integer, boolean,
    time or decimal column its int64 (decimals scaled). A column in `others` (text, lists, maps) stands there instead.

    Example:
        >>> answer = Answer(
        ...     "s",
        ...     0,
        ...     ("n",),
        ...     (DType("int64"),),
        ...     np.array([[3]]),
        ...     np.array([[True]]),
        ...     np.zeros((1, 1), np.uint8),
        ... )
        >>> answer.to_dict(), answer.rows()
        ({'n': [3]}, [{'n': 3}])
    """

    service: str
    at_us: int
    names: tuple[str, ...]
    dtypes: tuple[DType, ...]
    values: Ints
    valid: Bools
    statuses: Bytes
    others: Mapping[int, pa.Array] = field(default_factory=dict[int, pa.Array])
    freshness: Sequence[Freshness] = ()
    view_of: tuple[
        int, ...
    ] = ()  # for each column the place of its view in `freshness`, -1 for a request feature

    @property
    def size(self) -> int:
        """The number of entities."""
        return self.values.shape[0]

    def column(self, name: str) -> Array:
        """One column as NumPy: int64, or float64 with NaN for null; datetime64[us]; objects with None for the rest."""
        return to_numpy(self.arrow(name))

    def arrow(self, name: str) -> pa.Array:
        """One column as an Arrow array in the feature's declared type.

        Raises:
            UnknownName: the service has no such column.
        """
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            raise UnknownName(f"service {self.service!r} has no column {name!r}", hint=hint, column=name)
        return self._arrow(self.names.index(name))

    def to_arrow(self) -> pa.Table:
        """All columns as an Arrow table, nulls where not valid."""
        return pa.table({name: self._arrow(place) for place, name in enumerate(self.names)})

    def to_numpy(self) -> dict[str, Array]:
        """All columns as NumPy arrays; see `column`."""
        return {name: self.column(name) for name in self.names}

    def to_dict(self) -> dict[str, list[Any]]:
        """All columns as lists of Python values, None for null."""
        return dict(zip(self.names, self.lists, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each entity."""
        return [dict(zip(self.names, row, strict=True)) for row in zip(*self.lists, strict=True)]

    @cached_property
    def lists(self) -> list[list[Any]]:
        """The columns as lists of Python values, None for null."""
        return [self._list(place) for place in range(len(self.names))]

    def _list(self, place: int) -> list[Any]:
        if place in self.others:
            return cast("list[Any]", self.others[place].to_pylist())
        dtype = self.dtypes[place]
        bits, valid = self.values[:, place], self.valid[:, place]
        if dtype.kind == "float64":
            made: list[Any] = bits.view(np.float64).tolist()
        elif dtype.kind in {"int64", "int32"}:
            made = bits.tolist()
        elif dtype.kind == "bool":
            made = bits.astype(np.bool_).tolist()
        elif dtype.kind == "decimal":
            made = [Decimal(x).scaleb(-dtype.scale) for x in cast("list[int]", bits.tolist())]
        else:
            return cast("list[Any]", self._arrow(place).to_pylist())
        return (
            made if valid.all() else [x if ok else None for x, ok in zip(made, valid.tolist(), strict=True)]
        )

    def _arrow(self, place: int) -> pa.Array:
        if place in self.others:
            return self.others[place].cast(arrow_type(self.dtypes[place]))
        bits = np.ascontiguousarray(self.values[:, place])
        values = bits.view(np.float64) if self.dtypes[place].kind == "float64" else bits
        return physical_to_arrow(self.dtypes[place], values, self.valid[:, place])


def joined(parts: Sequence[Answer]) -> Answer:
    """The answers of parts of the entities as one, in their order."""
    first = parts[0]
    freshness = [
        Freshness(
            each.view,
            each.watermark_us,
            np.concatenate([part.freshness[v].newest_us for part in parts]),
            np.concatenate([part.freshness[v].known_before_us for part in parts]),
        )
        for v, each in enumerate(first.freshness)
    ]
    return replace(
        first,
        values=np.concatenate([part.values for part in parts]),
        valid=np.concatenate([part.valid for part in parts]),
        statuses=np.concatenate([part.statuses for part in parts]),
        others={place: pa.concat_arrays([part.others[place] for part in parts]) for place in first.others},
        freshness=freshness,
    )
