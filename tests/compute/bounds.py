"""Run by test_pack.py in a process of its own, with bounds checks in all kernels: corrupt records in, no harm done."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from asof.compute.arrow import Column
from asof.compute.history import History
from asof.compute.record import Layout, join, pack_history
from asof.errors import DataError
from asof.types import DType
from tests.compute.packing import KEYED, history_of, to_values, unpacked, with_stream

ROUNDS = 600


def records() -> list[bytes]:
    """Good records: two with one part, one with two."""
    made = history_of([9, 40, 3, 17], 5, "cents", 0.2, keyed=True, revised=True, late=True)
    one, other, first, second = pack_history(made, KEYED, watermark_us=5, floor_us=-9).records()
    return [one, other, with_stream(first, second)]


def broken(good: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """The same with one to four bytes changed in one of them, or cut off."""
    made = list(good)
    which = int(rng.integers(0, len(made)))
    data = bytearray(made[which])
    for _ in range(int(rng.integers(0, 5))):
        data[int(rng.integers(0, min(len(data), int(rng.choice([60, 300, 10**6])))))] = int(
            rng.integers(0, 256)
        )
    data[38] = 0  # not millions of rows
    made[which] = bytes(data[: len(data) if rng.random() < 0.7 else int(rng.integers(1, len(data)))])
    return made


def wide() -> None:
    """As many columns and predicates as take more bits than a row has bytes to spare."""
    n, many = 2000, 300
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(many)]
    columns = {
        name: Column(DType("int64"), rng.integers(-(2**63), 2**63 - 1, n), rng.random(n) < 0.5)
        for name in names
    }
    tests = {f"p{i}": rng.random(n) < 0.5 for i in range(many)}
    event = np.sort(rng.integers(-(2**61), 2**61, n))
    known = event + rng.integers(0, 2**60, n)
    history = History(np.array([0, n]), event, known, np.empty(0, np.int64), columns, tests)
    layout = Layout(tuple((name, DType("int64")) for name in names), tuple(tests))
    found = unpacked(pack_history(history, layout, watermark_us=0, floor_us=0).records(), layout)
    assert np.array_equal(found.event, event)
    assert all(np.array_equal(found.predicates[name], tests[name]) for name in tests)


def main() -> None:
    """All rounds; an IndexError is what must not happen."""
    wide()
    good, rng, told = records(), np.random.default_rng(0), 0
    for _ in range(ROUNDS):
        try:
            found = unpacked(broken(good, rng), KEYED)
        except DataError:
            told += 1
        else:
            to_values(found)
    data, offsets = join(good)
    assert data.size == offsets[-1]
    print("fine", ROUNDS, told)


if __name__ == "__main__":
    main()
