"""Aggregate states: what a window kernel, a tile and a stream all reduce events to, and how states become
values.

A state is columns of equal length, one row for each window asked. Every aggregation has `identity(n)`, `lift`
(one event each), `merge` (two states) and `finish` (state -> value and whether it is null). Laws, tested in
tests/compute/test_states.py: merge is associative with `identity` as its neutral element, exactly for counts,
exact sums, extremes, counters, registers and edges; up to rounding for float sums, moments and decayed sums.
All but edges commute. States whose size varies are in `bags.py`.
"""

# ruff: noqa: D102 - the protocol `Aggregate` tells what identity, lift, merge and finish do

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asof.compute.arrays import Array, Bools, Floats, Ints
from asof.compute.finish import finish_mean, finish_moments, merge_moments
from asof.errors import NumericOverflow

State = dict[str, Array]
Finished = tuple[Array, Bools]


def _empty(n: Ints) -> tuple[Floats, Bools]:
    return np.empty(n.size, np.float64), np.empty(n.size, np.bool_)


class Aggregate(Protocol):
    """The arithmetic of one aggregation."""

    def identity(self, n: int) -> State:
        """The state of n empty windows."""
        ...

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        """The state of one event each; of nothing where not valid."""
        ...

    def merge(self, left: State, right: State) -> State:
        """The state of both sets of events, pair by pair; right's events are the newer ones where order
        matters.
        """
        ...

    def finish(self, state: State) -> Finished:
        """Values, and where they are not null."""
        ...


class Count:
    """How many. Empty: 0."""

    def identity(self, n: int) -> State:
        return {"n": np.zeros(n, np.int64)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        del values, event
        return {"n": valid.astype(np.int64)}

    def merge(self, left: State, right: State) -> State:
        return {"n": left["n"] + right["n"]}

    def finish(self, state: State) -> Finished:
        return state["n"], np.ones(state["n"].size, np.bool_)


class Sum:
    """Sum, exact for int64 states. Empty: 0.

    Raises:
        NumericOverflow: a merged exact sum leaves int64.
    """

    def __init__(self, dtype: str = "int64") -> None:
        self.dtype = np.dtype(dtype)

    def identity(self, n: int) -> State:
        return {"sum": np.zeros(n, self.dtype)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        del event
        return {"sum": np.where(valid, values, 0).astype(self.dtype)}

    def merge(self, left: State, right: State) -> State:
        total = left["sum"] + right["sum"]
        if self.dtype.kind == "i" and (((left["sum"] ^ total) & (right["sum"] ^ total)) < 0).any():
            raise NumericOverflow("a sum does not fit 64 bits")
        return {"sum": total}

    def finish(self, state: State) -> Finished:
        return state["sum"], np.ones(state["sum"].size, np.bool_)


class Mean:
    """Mean from count and sum: float64(sum) / (count * 10^scale). Empty: null."""

    def __init__(self, dtype: str = "int64", scale: int = 0) -> None:
        self._sum, self._count, self.scale = Sum(dtype), Count(), scale

    def identity(self, n: int) -> State:
        return {**self._count.identity(n), **self._sum.identity(n)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        return {**self._count.lift(values, valid, event), **self._sum.lift(values, valid, event)}

    def merge(self, left: State, right: State) -> State:
        return {**self._count.merge(left, right), **self._sum.merge(left, right)}

    def finish(self, state: State) -> Finished:
        values, valid = _empty(state["n"])
        finish_mean(state["n"], state["sum"], 10.0**self.scale, values, valid)
        return values, valid


class Extreme:
    """Largest or smallest value. Empty: null."""

    def __init__(self, *, largest: bool, dtype: str = "int64") -> None:
        self.largest, self.dtype = largest, np.dtype(dtype)

    def identity(self, n: int) -> State:
        return {"has": np.zeros(n, np.bool_), "value": np.zeros(n, self.dtype)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        del event
        return {"has": valid.copy(), "value": np.where(valid, values, 0).astype(self.dtype)}

    def merge(self, left: State, right: State) -> State:
        best = np.maximum if self.largest else np.minimum
        both = best(left["value"], right["value"])
        value = np.where(left["has"], np.where(right["has"], both, left["value"]), right["value"])
        return {"has": left["has"] | right["has"], "value": value}

    def finish(self, state: State) -> Finished:
        return state["value"], state["has"]


@dataclass(frozen=True)
class Moments:
    """Sample variance or standard deviation from (count, mean, M2). Fewer than two values: null."""

    root: bool = False

    def identity(self, n: int) -> State:
        return {"n": np.zeros(n, np.int64), "mean": np.zeros(n), "m2": np.zeros(n)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        del event
        mean = np.where(valid, values, 0).astype(np.float64)
        return {"n": valid.astype(np.int64), "mean": mean, "m2": np.zeros(valid.size)}

    def merge(self, left: State, right: State) -> State:
        n, mean, m2 = left["n"] * 0, np.empty(left["n"].size), np.empty(left["n"].size)
        merge_moments(
            left["n"], left["mean"], left["m2"], right["n"], right["mean"], right["m2"], n, mean, m2
        )
        return {"n": n, "mean": mean, "m2": m2}

    def finish(self, state: State) -> Finished:
        values, valid = _empty(state["n"])
        finish_moments(state["n"], state["m2"], self.root, values, valid)
        return values, valid


@dataclass(frozen=True)
class DecayedSum:
    """Sum of value * 2^(-age / half_life), kept as of the newest event; `at_us` asks it as of another
    instant. Empty: 0.
    """

    half_life_us: float

    def identity(self, n: int) -> State:
        return {"at": np.zeros(n, np.int64), "sum": np.zeros(n)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        return {"at": np.where(valid, event, 0), "sum": np.where(valid, values, 0).astype(np.float64)}

    def merge(self, left: State, right: State) -> State:
        at = np.maximum(left["at"], right["at"])
        return {"at": at, "sum": self._aged(left, at) + self._aged(right, at)}

    def finish(self, state: State) -> Finished:
        return state["sum"], np.ones(state["sum"].size, np.bool_)

    def as_of(self, state: State, at_us: Ints) -> State:
        """The same state as of other instants."""
        return {"at": at_us, "sum": self._aged(state, at_us)}

    def _aged(self, state: State, at: Ints) -> Floats:
        aged: Floats = state["sum"] * 2.0 ** (-(at - state["at"]) / self.half_life_us)
        return aged
