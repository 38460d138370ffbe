"""The array types that compute works on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Array = NDArray[Any]
EMPTY_INTS: Ints = np.empty(0, np.int64)
EMPTY_BOOLS: Bools = np.empty(0, np.bool_)
