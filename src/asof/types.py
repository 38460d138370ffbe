"""The types a column can have, and the one table that translates them for every engine.

A `DType` is a small frozen value (`DType("decimal", precision=18, scale=2)`); engines and stores translate it
and never each other's types. Only the standard library is used here; Arrow's side of the table is in
`compute/arrow.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from asof.errors import DefinitionError, UnknownName, did_you_mean

MAX_DECIMAL_DIGITS = 18  # a scaled value fits one int64; see docs/adr/0002-exact-arithmetic.md

# kind -> (NumPy dtype of the physical column, DuckDB type, Spark type)
_TABLE: dict[str, tuple[str, str, str]] = {
    "bool": ("bool", "BOOLEAN", "boolean"),
    "int32": ("int32", "INTEGER", "int"),
    "int64": ("int64", "BIGINT", "bigint"),
    "float64": ("float64", "DOUBLE", "double"),
    "decimal": ("int64", "DECIMAL({precision},{scale})", "decimal({precision},{scale})"),
    "string": ("object", "VARCHAR", "string"),
    "timestamp": ("int64", "TIMESTAMPTZ", "timestamp"),
    "date": ("int32", "DATE", "date"),
    "list": ("object", "{item}[]", "array<{item}>"),
    "map": ("object", "MAP(VARCHAR, {item})", "map<string,{item}>"),
}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)$")
_NESTED = re.compile(r"(list|map)<(.+)>$")


@dataclass(frozen=True)
class DType:
    """One column type: a kind, and what the kind needs (precision and scale, or the item's type).

    Example:
        >>> str(DType.parse("decimal(18,2)")), DType.parse("list<string>").item == DType("string")
        ('decimal(18,2)', True)
    """

    kind: str
    precision: int = 0
    scale: int = 0
    item: DType | None = None

    def __post_init__(self) -> None:
        if self.kind not in _TABLE:
            raise UnknownName(f"no type {self.kind!r}", hint=did_you_mean(self.kind, _TABLE), type=self.kind)
        if self.kind == "decimal" and not 0 <= self.scale <= self.precision <= 38:
            raise DefinitionError(
                f"decimal({self.precision},{self.scale}) is not a type",
                hint="0 <= scale <= precision <= 38",
            )
        if (self.kind in {"list", "map"}) != (self.item is not None):
            raise DefinitionError(f"type {self.kind!r}: list and map, and only they, have an item type")

    @classmethod
    def parse(cls, text: str | DType) -> DType:
        """The type that a text names: `int64`, `decimal(18,2)`, `list<string>`, `map<float64>` (keys are
        strings).

        Raises:
            UnknownName: the text names no type; the hint lists the nearest.
        """
        if isinstance(text, DType):
            return text
        word = text.strip().lower()
        if decimal := _DECIMAL.match(word):
            return cls("decimal", precision=int(decimal[1]), scale=int(decimal[2]))
        if nested := _NESTED.match(word):
            return cls(nested[1], item=cls.parse(nested[2]))
        return cls(word)

    def __str__(self) -> str:
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        return self.kind if self.item is None else f"{self.kind}<{self.item}>"

    @property
    def is_numeric(self) -> bool:
        """True where sums and means are defined: bool (as 0 and 1), integers, decimals and floats."""
        return self.kind in {"bool", "int32", "int64", "float64", "decimal"}

    @property
    def is_exact(self) -> bool:
        """True where sums are exact integers: bool, integers, decimals."""
        return self.is_numeric and self.kind != "float64"

    @property
    def numpy(self) -> str:
        """Name of the NumPy dtype of the physical column."""
        return _TABLE[self.kind][0]

    @property
    def duckdb(self) -> str:
        """The type in DuckDB's SQL."""
        item = "" if self.item is None else self.item.duckdb
        return _TABLE[self.kind][1].format(precision=self.precision, scale=self.scale, item=item)

    @property
    def spark(self) -> str:
        """The type in Spark's SQL."""
        item = "" if self.item is None else self.item.spark
        return _TABLE[self.kind][2].format(precision=self.precision, scale=self.scale, item=item)


@dataclass(frozen=True)
class Schema:
    """Named column types in order.

    Example:
        >>> schema = Schema.of({"account_id": "string", "amount": "decimal(18,2)"})
        >>> schema.names, str(schema["amount"])
        (('account_id', 'amount'), 'decimal(18,2)')
    """

    fields: tuple[tuple[str, DType], ...]

    @classmethod
    def of(cls, columns: Mapping[str, str | DType]) -> Schema:
        """A schema from names and type texts."""
        return cls(tuple((name, DType.parse(text)) for name, text in columns.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(name for name, _ in self.fields)

    def __getitem__(self, name: str) -> DType:
        for field, dtype in self.fields:
            if field == name:
                return dtype
        raise UnknownName(f"no column {name!r}", hint=did_you_mean(name, self.names), column=name)

    def __contains__(self, name: object) -> bool:
        return any(field == name for field, _ in self.fields)

    def __iter__(self) -> Iterator[tuple[str, DType]]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)
