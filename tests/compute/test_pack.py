"""Records: what is packed comes back, two parts become one, and bytes that are corrupt do no harm."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.arrow import Column
from asof.compute.history import History
from asof.compute.record import Layout, pack_history
from asof.errors import DataError
from asof.types import DType
from tests.compute.packing import KEYED, LAYOUT, STYLES, history_of, rows_of, to_values, unpacked, with_stream

SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 9, 300]), min_size=1, max_size=4)
NULLS = st.sampled_from([0.0, 0.0, 0.3, 1.0])
FORMS = {
    "sizes": SIZES,
    "seed": st.integers(0, 10**6),
    "style": st.sampled_from(sorted(STYLES)),
    "nulls": NULLS,
}
MADE = st.fixed_dictionaries(FORMS | {name: st.booleans() for name in ("keyed", "revised", "late")})
WATERMARK = 40


def packed(made, watermark=WATERMARK):
    history = history_of(**made)
    layout = KEYED if made["keyed"] else LAYOUT
    return (
        history,
        layout,
        pack_history(history, layout, watermark_us=watermark, floor_us=watermark - 9).records(),
    )


@given(MADE)
def test_what_is_packed_comes_back_to_the_bit(made):
    history, layout, records = packed(made)
    assert rows_of(unpacked(records, layout)) == rows_of(history)
    assert [len(record) > 0 for record in records] == [size > 0 for size in made["sizes"]]


@given(MADE)
def test_a_record_does_not_depend_on_its_neighbours(made):
    history, layout, records = packed(made)
    for record, rows in zip(records, rows_of(history), strict=True):
        assert rows_of(unpacked([None, record, None], layout)) == [[], rows, []]


@given(MADE)
def test_packing_what_was_unpacked_gives_the_same_bytes(made):
    _, layout, records = packed(made)
    again = pack_history(
        unpacked(records, layout), layout, watermark_us=WATERMARK, floor_us=WATERMARK - 9
    ).records()
    assert again == records


def test_a_header_holds_version_watermark_floor_and_newest_event():
    history, _, (record,) = packed({
        "sizes": [3], "seed": 1, "style": "small", "nulls": 0.0, "keyed": False, "revised": False, "late": False
    })  # fmt: skip
    words = np.frombuffer(record[:32], np.int64).tolist()
    assert words == [1, WATERMARK, WATERMARK - 9, int(history.event[-1])]


def test_seconds_and_cents_take_few_bytes():
    """1000 rows of a time within a month, an amount in cents and a small number: about 4 + 3 + 1 bytes each."""
    rng = np.random.default_rng(0)
    event = np.sort(rng.integers(0, 30 * 86_400, 1000)) * 1_000_000
    sure = np.ones(1000, np.bool_)
    columns = {
        "amount": Column(DType("float64"), rng.integers(1, 10**6, 1000) / 100, sure),
        "kind": Column(DType("int64"), rng.integers(0, 9, 1000), sure),
    }
    history = History(np.array([0, 1000]), event, event, np.empty(0, np.int64), columns, {})
    layout = Layout(tuple((name, column.dtype) for name, column in columns.items()))
    (record,) = pack_history(history, layout, watermark_us=0, floor_us=0).records()
    assert len(record) == 32 + 8 + 3 * 16 + 1000 * (3 + 3 + 1)


# ------------------------------------------------------------------------------------------------ two parts
@given(MADE, st.integers(0, 10**6), st.sampled_from([-(10**12), 0, 40, 10**12]))
def test_the_stream_part_joins_in_order_without_what_the_batch_part_holds(made, seed, watermark):
    made = made | {"sizes": [max(1, made["sizes"][0])]}
    batch, layout, (first,) = packed(made, watermark)
    stream, _, (second,) = packed(made | {"seed": seed}, watermark)
    (held,), (came,) = rows_of(batch), rows_of(stream)
    wanted = held + [row for row in came if row["known"] >= watermark]
    wanted.sort(key=lambda row: (row["event"], row["known"]))
    assert rows_of(unpacked([with_stream(first, second)], layout)) == [wanted]


# ------------------------------------------------------------------------------------------------ trouble
def test_a_newer_format_is_told():
    _, layout, (record,) = packed({
        "sizes": [3], "seed": 1, "style": "small", "nulls": 0.0, "keyed": False, "revised": False, "late": False
    })  # fmt: skip
    with pytest.raises(DataError, match="format 2, and this asof reads formats up to 1"):
        unpacked([b"\x02" + record[1:]], layout)


@given(
    MADE,
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
    st.floats(0, 1) | st.just(1.0),
)
def test_corrupt_bytes_are_told_or_give_some_values(made, flips, cut):
    _, layout, records = packed(made)
    broken = [corrupt(record, flips, cut) if record else None for record in records]
    with contextlib.suppress(DataError):
        to_values(unpacked(broken, layout))


def corrupt(record, flips, cut):
    """The record with some bytes changed, and cut off; never the number of rows made huge."""
    made = bytearray(record)
    for where, value in flips:
        place = min(int(where * len(made)), len(made) - 1)
        if place not in {37, 38}:
            made[place] = value
    return bytes(made[: max(1, int(cut * len(made)))])


@given(MADE, st.integers(1, 200))
def test_a_record_that_is_cut_off_is_told(made, less):
    made = made | {"sizes": [9]}
    _, layout, (record,) = packed(made)
    with pytest.raises(DataError, match="corrupt"):
        unpacked([record[: max(1, len(record) - less)]], layout)


def test_kernels_stay_within_their_arrays_whatever_a_record_says(tmp_path):
    """The kernels compiled with bounds checks, over records with random changes; see bounds.py."""
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("bounds.py")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("fine")
