"""The table of applied offsets at the end of a record: there when a stream has written it, and in nobody's way."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from asof.compute.history import History, Part
from asof.compute.record import Layout, join, pack_history, unpack_history
from asof.errors import DataError
from asof.online.codec import offsets_of, with_offsets
from asof.types import DType

LAYOUT = Layout((("cents", DType("int64")),))


def record() -> bytes:
    times = np.array([10, 20, 30])
    cents = pa.chunked_array([pa.array([5, None, 7])])
    history = History.build([Part(np.zeros(3, np.int64), times, None, {"cents": cents}, {})], 1)
    return pack_history(history, LAYOUT, watermark_us=40, floor_us=0).records()[0]


def test_a_record_says_how_far_each_partition_has_been_applied() -> None:
    applied = with_offsets(record(), {7: 120, 2: 33})
    assert offsets_of(applied) == {2: 33, 7: 120}
    assert offsets_of(with_offsets(applied, {2: 34})) == {2: 34}
    assert with_offsets(applied, {}) == record()


def test_the_table_changes_nothing_of_what_is_read() -> None:
    plain, applied = record(), with_offsets(record(), {0: 1})
    left, right = (unpack_history(*join([each]), LAYOUT) for each in (plain, applied))
    assert left.event.tolist() == right.event.tolist()
    assert left.columns["cents"].values.tolist() == right.columns["cents"].values.tolist()


def test_the_bytes_of_the_table_are_as_they_were_laid_down() -> None:
    table = with_offsets(record(), {1: 2})[len(record()) :]
    assert table.hex() == "01000000000000000200000000000000" + "01000000"


def test_a_table_that_leads_out_of_the_record_is_refused() -> None:
    broken = with_offsets(record(), {1: 2})[:-4] + b"\xff\xff\xff\x00"
    with pytest.raises(DataError, match="corrupt"):
        offsets_of(broken)
