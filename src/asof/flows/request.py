"""Request features: a user's NumPy function over the columns of features and of the request."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from asof.compute.arrays import Array
from asof.compute.arrow import arrow_type, find_dtype, to_column
from asof.define.request_feature import EVENT_TIME, RequestFeature
from asof.errors import UserCodeError, WrongType


def request_column(
    feature: RequestFeature, columns: Mapping[str, pa.Array], at: Array, size: int
) -> pa.Array:
    """The feature's values.

    Shape: `(m,)` arrays in, `(m,)` values out, in the declared type; NaN becomes null.

    Args:
        feature: the definition.
        columns: its input features and request columns by name.
        at: the spine's times in microseconds.
        size: the number of spine rows.

    Raises:
        UserCodeError: the function raised, or gave something that is no column of its length.
    """
    arguments = {
        name: at.astype("datetime64[us]") if name == EVENT_TIME else to_numpy(columns[name])
        for name in feature.parameters
    }
    where = f"request feature {feature.name!r}"
    try:
        made = np.asarray(feature.function(**arguments))
    except Exception as exc:  # whatever a user's function raises is told as theirs
        frame = traceback.extract_tb(exc.__traceback__)[-1]
        raise UserCodeError(
            f"{where}: {type(exc).__name__} in {frame.filename}:{frame.lineno}", feature=feature.name
        ) from exc
    if made.shape != (size,):
        if made.shape != ():
            raise UserCodeError(f"{where}: gave shape {made.shape} for {size} rows", feature=feature.name)
        made = np.full(size, made)
    return _typed(where, made, feature)


def _typed(where: str, made: Array, feature: RequestFeature) -> pa.Array:
    wanted = arrow_type(feature.dtype)
    try:
        return pa.array(made, from_pandas=True).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as exc:
        raise WrongType(
            f"{where}: gave {made.dtype}, which does not fit {feature.dtype}",
            hint='declare it: @request_feature(dtype="...")',
            feature=feature.name,
        ) from exc


def to_numpy(column: pa.Array) -> Array:
    """A column as a user's function sees it: float64 with NaN for numbers with nulls and decimals,
    datetime64[us], or objects.
    """
    dtype = find_dtype(column.type)
    if dtype is None or dtype.kind == "string":
        return np.array(column.to_pylist(), object)
    if dtype.kind == "timestamp":
        return column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    if dtype.kind == "decimal":  # Arrow's own cast is not to the nearest float
        made = to_column("input", column)
        return np.where(made.valid, made.floats, np.nan)
    if dtype.kind == "float64" or (dtype.is_numeric and column.null_count):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return column.to_numpy(zero_copy_only=False)
