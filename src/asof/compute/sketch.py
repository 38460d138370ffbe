"""Sketches: portable hashes for approximate distinct counts, and buckets for quantiles.

Both are functions of the value alone, so a sketch depends on the set of events and on nothing else (not on
the engine, the order, or the machine).
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import hashlib
import math
from typing import cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Array, Floats, Ints

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_MIN_VALUE = 1e-12  # smaller values count as zero
_SHIFT = 40_000  # bucket numbers of positive values are above it, of negative ones below
_MASK = (1 << 64) - 1


def hash_value(value: object) -> int:
    """A 64-bit hash of one value: BLAKE2b of its type-tagged text."""
    return int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=8).digest(), "little")


def hash_dictionary(values: pa.Array) -> Ints:
    """The hash of each value of a dictionary (strings by BLAKE2b, numbers mixed by the finaliser of
    SplitMix64).

    Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014 (the finaliser).
    """
    if not pa.types.is_string(values.type):
        return hash_numbers(np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64))
    hashed = [hash_value(value) for value in cast("list[object]", values.to_pylist())]
    return np.array(hashed, np.uint64).view(np.int64)


def hash_numbers(values: Array) -> Ints:
    """The hash of each int64 or float64 value, from its bits."""
    z = values.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.int64)


def bucket_numbers(values: Floats) -> Ints:
    """The bucket of each value: logarithmic, so that a bucket's middle is within 1 % of every value in it.

    Values below 1e-12 in size are bucket 0's neighbours at zero; buckets of negative values mirror those of
    positive ones.
    Source: Masson, Rim, Lee: DDSketch, VLDB 2019.
    """
    size = np.abs(values)
    big = size >= _MIN_VALUE
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.ceil(np.log(np.where(big, size, 1.0)) / _LOG_GAMMA)
        steps = np.clip(steps, -_SHIFT + 1, _SHIFT - 1) + _SHIFT
    signed = np.where(values < 0, -steps, steps)
    return np.where(big, signed, 0).astype(np.int64)


def bucket_values(numbers: Ints) -> Floats:
    """The value that stands for each bucket: the middle of its bounds in relative terms."""
    steps = np.abs(numbers) - _SHIFT
    with np.errstate(over="ignore"):
        size = np.exp(steps * _LOG_GAMMA + math.log(2 / (_GAMMA + 1)))
    size = np.where(steps == _SHIFT - 1, np.inf, np.minimum(size, np.finfo(np.float64).max))
    return np.where(numbers == 0, 0.0, np.sign(numbers) * size)
