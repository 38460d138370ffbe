"""Sketches depend on values alone, and keep their promised error."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.sketch import bucket_numbers, bucket_values, hash_dictionary, hash_numbers, hash_value

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@given(value=numbers)
def test_a_bucket_stands_for_its_values_within_one_percent(value: float) -> None:
    found = float(bucket_values(bucket_numbers(np.array([value])))[0])
    assert found == 0.0 if abs(value) < 1e-12 else abs(found - value) <= 0.0101 * abs(value)


def test_the_largest_numbers_and_infinity_have_buckets_of_their_own() -> None:
    values = np.array([1.7e308, -1.7e308, np.inf, -np.inf, 0.0])
    found = bucket_values(bucket_numbers(values))
    assert np.allclose(found[:2], values[:2], rtol=0.0101)
    assert found[2:].tolist() == [np.inf, -np.inf, 0.0]


@given(pair=st.tuples(numbers, numbers))
def test_buckets_are_in_the_order_of_their_values(pair: tuple[float, float]) -> None:
    low, high = bucket_numbers(np.array(sorted(pair)))
    assert low <= high


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_value("m1") == 18083481382000507607
    assert hash_numbers(np.array([0, 1], np.int64)).view(np.uint64).tolist() == [
        16294208416658607535,
        10451216379200822465,
    ]
    assert hash_dictionary(pa.array(["a", "b"])).tolist() == [
        np.uint64(hash_value("a")).view(np.int64), np.uint64(hash_value("b")).view(np.int64)
    ]  # fmt: skip
