"""Compares the sides' answers before anything is timed: no bench of wrong answers.

Kinds of columns: `exact` (counts, sums of decimals, max, strings) must be equal; `float` may differ by 1e-9
relative, or by 1e-9 of a unit for values around zero, since sides add up in different orders. A null equals a
null and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kinds = dict[str, Literal["exact", "float"]]
TOLERANCE = 1e-9


class WrongAnswer(Exception):
    """Two sides disagree; the text names the column, how many rows, and the first of them."""


def compare(answers: Sequence[tuple[str, Path]], kinds: Kinds) -> None:
    """Nothing, when all answers agree with the first.

    Raises:
        WrongAnswer: one does not.
    """
    reference_name, reference = answers[0][0], _read(answers[0][1])
    for name, path in answers[1:]:
        table = _read(path)
        if table.num_rows != reference.num_rows:
            raise WrongAnswer(f"{name}: {table.num_rows} rows, {reference_name}: {reference.num_rows}")
        for column, kind in kinds.items():
            _check(
                f"{name} against {reference_name}",
                column,
                _one(table, column, name),
                _one(reference, column, reference_name),
                kind,
            )


def _read(path: Path) -> pa.Table:
    return feather.read_table(path, memory_map=True)


def _one(table: pa.Table, column: str, side: str) -> pa.Array:
    if column not in table.column_names:
        raise WrongAnswer(f"{side}: no column {column!r} among {', '.join(table.column_names)}")
    return table.column(column).combine_chunks()


def _check(what: str, column: str, ours: pa.Array, other: pa.Array, kind: str) -> None:
    ours, other = (_plain(side, kind) for side in (ours, other))
    differ = pc.xor(pc.is_null(ours), pc.is_null(other))
    unequal = pc.not_equal(ours, other) if kind == "exact" else _far(ours, other)
    wrong = pc.or_(differ, pc.fill_null(unequal, fill_value=False))
    count = pc.sum(pc.cast(wrong, pa.int64())).as_py()
    if count:
        row = pc.index(wrong, True).as_py()
        raise WrongAnswer(
            f"{what}: {column}: {count} rows differ, the first is {row}: {ours[row]} and {other[row]}"
        )


def _far(ours: pa.Array, other: pa.Array) -> pa.Array:
    size = pc.max_element_wise(pc.abs(ours), pc.abs(other), 1.0)
    # Inverted, so that a NaN, which is no answer, counts as far from everything.
    return pc.invert(pc.less_equal(pc.abs(pc.subtract(ours, other)), pc.multiply(size, TOLERANCE)))


def _plain(side: pa.Array, kind: str) -> pa.Array:
    """The same values in the one type of their kind, so that int32 equals int64 and large_string equals string."""
    if kind == "float":
        return side.cast(pa.float64())
    if pa.types.is_integer(side.type) or pa.types.is_boolean(side.type):
        return side.cast(pa.int64())
    if pa.types.is_decimal(side.type):
        return side.cast(pa.decimal128(38, side.type.scale))
    if (
        pa.types.is_large_string(side.type)
        or pa.types.is_string_view(side.type)
        or pa.types.is_dictionary(side.type)
    ):
        return side.cast(pa.string())
    return side
