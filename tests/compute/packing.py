"""Histories for the tests of records: made of a seed and a style for each column, and told as plain rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.compute.arrow import Column, physical_to_arrow
from asof.compute.history import History
from asof.compute.record import KEY_HIGH, KEY_LOW, Layout, Packed, join, unpack_history
from asof.define.window import END_US
from asof.types import DType

ENDS = np.array([-(2**63), 2**63 - 1, 0, -1, 1, 2**62, -(2**62), 2**53 + 1, 255, 256, 65536])
REALS = np.array(
    [0.1, -0.3, 5e-324, -5e-324, 1.7e308, -1.7e308, 1e15, 1e16, 123456.78, 0.0, 2.5e-310, np.inf, -np.inf]
)
TEXTS = ["", "u", "é", "日本", "a longer text than all the others", "\x00", "🙂"]
LAYOUT = Layout(
    (
        ("i", DType("int64")), ("n", DType("int32")), ("f", DType("float64")),
        ("d", DType("decimal", precision=18, scale=2)), ("s", DType("string")), ("b", DType("bool")),
        ("at", DType("timestamp")), ("day", DType("date")),
    ),
    ("i > 0", "b"),
)  # fmt: skip
KEYED = Layout(LAYOUT.columns, LAYOUT.predicates, keyed=True)

Rng = np.random.Generator
STYLES: dict[str, Callable[[Rng, int], Any]] = {
    "any": lambda rng, n: rng.integers(-(2**63), 2**63 - 1, n),
    "ends": lambda rng, n: rng.choice(ENDS, n),
    "small": lambda rng, n: rng.integers(-3, 4, n),
    "cents": lambda rng, n: rng.integers(-(10**7), 10**7, n),
    "seconds": lambda rng, n: rng.integers(-(10**6), 10**6, n) * 1_000_000,
    "one": lambda rng, n: np.full(n, rng.choice(ENDS)),
}


def history_of(
    sizes: Sequence[int], seed: int, style: str, nulls: float, *, keyed: bool = False, revised: bool = False,
    late: bool = False,
) -> History:  # fmt: skip
    """A history with so many rows in each group, all columns in one style."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    event = rng.integers(-50, 50, n) * int(rng.choice([1, 1000, 1_000_000]))
    known = event + (rng.choice([0, 0, 1, 7, 10**9, -3], n) if late else 0)
    group = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((known, event, group))
    event, known = event[order], known[order]
    until = (
        np.where(rng.random(n) < 0.3, known + rng.integers(1, 99, n), END_US)
        if revised
        else np.empty(0, np.int64)
    )
    columns = {name: column_of(dtype, rng, n, style, nulls) for name, dtype in LAYOUT.columns}
    if keyed:
        valid = rng.random(n) >= nulls
        for half in (KEY_LOW, KEY_HIGH):
            columns[half] = Column(DType("int64"), np.where(valid, STYLES["any"](rng, n), 0), valid)
    return History(
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        event=event, known=known, until=until, columns=columns,
        predicates={sql: rng.random(n) < 0.5 for sql in LAYOUT.predicates},
    )  # fmt: skip


def column_of(dtype: DType, rng: Rng, n: int, style: str, nulls: float) -> Column:
    """A column in a style; `nulls` is the share of its values that are null."""
    valid = rng.random(n) >= nulls
    if dtype.kind == "string":
        found = [str(x) for x in range(400)] if style == "any" else TEXTS[:1] if style == "one" else TEXTS
        dictionary = pa.array(sorted(found), pa.string())
        return Column(dtype, np.where(valid, rng.integers(0, len(found), n), 0), valid, dictionary)
    numbers = STYLES[style](rng, n)
    if dtype.kind == "float64":
        real = {"cents": numbers / 100, "ends": rng.choice(REALS, n), "any": rng.normal(0, 1e3, n)}.get(
            style, numbers.astype(np.float64)
        )
        return Column(dtype, np.where(valid, real + 0.0, 0.0), valid)
    if dtype.kind in {"int32", "date"}:
        numbers = numbers % 2**20
    elif dtype.kind == "bool":
        numbers = numbers & 1
    elif dtype.kind in {"decimal", "timestamp"}:
        numbers = numbers // 16  # what 18 digits and Arrow's times hold
    return Column(dtype, np.where(valid, numbers, 0), valid)


def rows_of(history: History) -> list[list[dict[str, Any]]]:
    """The rows of each group: times, then values with None for null, floats as text, to the bit."""
    n = history.size
    until = history.until if history.until.size else np.full(n, END_US)
    told = {"event": history.event, "known": history.known, "until": until, **history.predicates}
    columns: dict[str, list[Any]] = {name: values[:n].tolist() for name, values in told.items()}
    for name, column in history.columns.items():
        columns[name] = [_told(column, i) for i in range(n)]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    starts = cast("list[int]", history.starts.tolist())
    return [rows[start:stop] for start, stop in pairwise(starts)]


def _told(column: Column, row: int) -> Any:
    if not column.valid[row]:
        return None
    if column.dictionary is not None:
        return column.dictionary[int(column.values[row])].as_py()
    if column.dtype.kind == "float64":
        return float(column.values[row]).hex()
    return int(column.values[row])


def unpacked(records: Sequence[bytes | None], layout: Layout) -> History:
    """The history in records."""
    return unpack_history(*join(records), layout)


def with_stream(batch: bytes, stream: bytes) -> bytes:
    """A record whose stream part is the block of another one."""
    return batch[:2] + bytes([batch[2] | 1]) + batch[3:] + stream[32:]


def to_values(history: History) -> None:
    """Looks at every value as Arrow does."""
    for column in history.columns.values():
        if column.dictionary is not None:
            physical_to_arrow(column.dtype, column.values, column.valid, column.dictionary).to_pylist()


__all__ = [
    "KEYED",
    "LAYOUT",
    "STYLES",
    "Packed",
    "history_of",
    "rows_of",
    "to_values",
    "unpacked",
    "with_stream",
]
