"""Columns of NumPy arrays, and the units in which the simulator counts.

The invariant: instants are int64 microseconds UTC, money is int64 cents, days are numbered from the period's start.
Read population.py next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
NEVER_US: int = np.iinfo(np.int64).max
NONE = -1  # no merchant, no device


@dataclass(frozen=True)
class Columns:
    """Arrays of one length, one entry per thing."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, which: I64 | Mask) -> Self:
        """The chosen entries, in the order given."""
        return type(self)(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All entries of several parts, one after another."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def pick(shares: Sequence[float], u: F64) -> I64:
    """The index of the choice on which each uniform number falls; the shares add up to one.

    Example:
        >>> pick([0.5, 0.3, 0.2], np.array([0.0, 0.6, 0.99]))
        array([0, 1, 2])
    """
    return np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(shares) - 1)


def whole_ms(us: F64 | I64) -> I64:
    """Microseconds, rounded down to the millisecond: the resolution of the ingesting side's clocks.

    Example:
        >>> whole_ms(np.array([1_234_567.8]))
        array([1234000])
    """
    return us.astype(np.int64) // 1_000 * 1_000


def whole_cents(cents: F64) -> I64:
    """Amounts rounded to cents, at least one.

    Example:
        >>> whole_cents(np.array([0.2, 1999.6]))
        array([   1, 2000])
    """
    return np.maximum(1, np.rint(cents)).astype(np.int64)
