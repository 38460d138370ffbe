"""Aggregate states whose size varies: counters of codes, the first or last n events, and HyperLogLog
registers.

A bag holds the entries of many windows one after the other: window i has the entries `starts[i]` to `starts[i
+ 1]`. Merging sorts the entries of both sides together, so a bag depends on the set of its events only.
"""

# ruff: noqa: D102 - the protocol `Aggregate` tells what identity, lift, merge and finish do

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asof.compute import kernels
from asof.compute.arrays import Array, Bools, Ints
from asof.compute.states import Finished, State

_SAMPLE_KEYS = ("event", "known", "sequence")


def owners(starts: Ints) -> Ints:
    """The number of the window that each entry belongs to."""
    return np.repeat(np.arange(starts.size - 1), np.diff(starts))


def _starts(owner: Ints, n: int) -> Ints:
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=n), out=starts[1:])
    return starts


class Counter:
    """How often each code occurs: the state of exact distinct counts, top k and quantiles (codes in order of
    value).
    """

    def identity(self, n: int) -> State:
        none = np.empty(0, np.int64)
        return {"starts": np.zeros(n + 1, np.int64), "code": none, "count": none}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        del event
        owner = np.flatnonzero(valid)
        codes = values[owner].astype(np.int64)
        return {"starts": _starts(owner, valid.size), "code": codes, "count": np.ones(owner.size, np.int64)}

    def merge(self, left: State, right: State) -> State:
        n = left["starts"].size - 1
        owner = np.concatenate([owners(left["starts"]), owners(right["starts"])])
        code = np.concatenate([left["code"], right["code"]])
        count = np.concatenate([left["count"], right["count"]])
        order = np.lexsort((code, owner))
        owner, code, count = owner[order], code[order], count[order]
        fresh = np.ones(owner.size, np.bool_)
        fresh[1:] = (owner[1:] != owner[:-1]) | (code[1:] != code[:-1])
        places = np.cumsum(fresh) - 1
        totals = np.bincount(places, weights=count, minlength=int(fresh.sum())).astype(np.int64)
        return {"starts": _starts(owner[fresh], n), "code": code[fresh], "count": totals}

    def finish(self, state: State) -> Finished:
        """The number of different codes."""
        distinct = np.diff(state["starts"])
        return distinct, np.ones(distinct.size, np.bool_)

    def top(self, state: State, k: int) -> Ints:
        """The k most frequent codes of each window, ties by smaller code; -1 where there are fewer."""
        owner = owners(state["starts"])
        order = np.lexsort((state["code"], -state["count"], owner))
        rank = np.arange(owner.size) - state["starts"][owner]
        out = np.full((state["starts"].size - 1, k), -1, np.int64)
        keep = rank < k
        out[owner[order][keep], rank[keep]] = state["code"][order][keep]
        return out

    def rank(self, state: State, quantile: float) -> Ints:
        """The code at 0-based rank floor(quantile * (n - 1)) of each window; -1 when empty."""
        owner, starts = owners(state["starts"]), state["starts"]
        running = np.concatenate([[0], np.cumsum(state["count"])])
        total = running[starts[1:]] - running[starts[:-1]]
        wanted = np.floor(quantile * (total - 1)).astype(np.int64)
        upto = running[1:] - running[starts[owner]]
        hit = (upto > wanted[owner]) & (upto - state["count"] <= wanted[owner])
        out = np.full(starts.size - 1, -1, np.int64)
        out[owner[hit]] = state["code"][hit]
        return out


@dataclass(frozen=True)
class Edge:
    """The n newest (newest first) or n oldest (oldest first) events in canonical order (event time, known-at,
    sequence).
    """

    n: int
    newest: bool

    def identity(self, n: int) -> State:
        none = np.empty(0, np.int64)
        return {"starts": np.zeros(n + 1, np.int64), "value": none, **dict.fromkeys(_SAMPLE_KEYS, none)}

    def lift(
        self,
        values: Array,
        valid: Bools,
        event: Ints,
        known: Ints | None = None,
        sequence: Ints | None = None,
    ) -> State:
        owner = np.flatnonzero(valid)
        known = event if known is None else known
        sequence = np.zeros(event.size, np.int64) if sequence is None else sequence
        return {
            "starts": _starts(owner, valid.size), "value": values[owner], "event": event[owner],
            "known": known[owner], "sequence": sequence[owner],
        }  # fmt: skip

    def merge(self, left: State, right: State) -> State:
        n = left["starts"].size - 1
        owner = np.concatenate([owners(left["starts"]), owners(right["starts"])])
        entries = {key: np.concatenate([left[key], right[key]]) for key in ("value", *_SAMPLE_KEYS)}
        keys = [entries[key] for key in reversed(_SAMPLE_KEYS)]
        order = np.lexsort([*(-key if self.newest else key for key in keys), owner])
        owner = owner[order]
        rank = np.arange(owner.size) - _starts(owner, n)[owner]
        keep = rank < self.n
        kept = {key: values[order][keep] for key, values in entries.items()}
        return {"starts": _starts(owner[keep], n), **kept}

    def finish(self, state: State) -> Finished:
        """The first entry of each window, as `first` and `last` without n ask it."""
        starts = state["starts"]
        has = np.diff(starts) > 0
        out = np.zeros(has.size, state["value"].dtype)
        out[has] = state["value"][starts[:-1][has]]
        return out, has


class Registers:
    """HyperLogLog registers: the state of approximate distinct counts; `values` are 64-bit hashes.

    Source: Flajolet, Fusy, Gandouet, Meunier: HyperLogLog, 2007.
    """

    def identity(self, n: int) -> State:
        return {"registers": np.zeros((n, kernels.HLL_REGISTERS), np.uint8)}

    def lift(self, values: Array, valid: Bools, event: Ints) -> State:
        del event
        state = self.identity(valid.size)
        hashed = values.view(np.uint64)
        for row in np.flatnonzero(valid):
            slot = int(hashed[row]) >> (64 - kernels.HLL_BITS)
            state["registers"][row, slot] = kernels.hll_rank(hashed[row])
        return state

    def merge(self, left: State, right: State) -> State:
        return {"registers": np.maximum(left["registers"], right["registers"])}

    def finish(self, state: State) -> Finished:
        made = np.array([kernels.hll_estimate(row) for row in state["registers"]], np.int64)
        return made, np.ones(made.size, np.bool_)
