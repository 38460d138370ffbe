"""Histories, features and spines for property tests: small, so that ties, late rows and corrections are common."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

import asof
from asof.define.aggregation import Aggregation, Latest

Dicts = list[dict[str, Any]]
US = pa.timestamp("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAN, INF = float("nan"), float("inf")

# what a row says: column -> (Arrow type, its values)
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "n": (pa.int32(), st.integers(-2, 2)),
    "i": (pa.int64(), st.integers(-(10**6), 10**6)),
    "d": (pa.decimal128(18, 2), st.integers(-(10**16), 10**16).map(lambda cents: Decimal(cents).scaleb(-2))),
    "f": (
        pa.float64(),
        st.sampled_from([0.1, 0.2, 0.3, 0.0, -0.0, 1e16, -1e16, 1e300, NAN, INF, -INF]) | st.floats(-9, 9),
    ),
    "s": (pa.string(), st.sampled_from(["u", "v", "", "é", "zz"])),
    "b": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.integers(-3, 3).map(lambda days: date(1970, 1, 1) + timedelta(days=days))),
    "at": (US, st.integers(-3, 3).map(lambda us: EPOCH + timedelta(microseconds=us))),
}
HEAD: dict[str, pa.DataType] = {
    "k": pa.string(), "k2": pa.int64(), "happened": US, "known": US, "id": pa.string(), "gone": pa.bool_(),
    "seq": pa.int64(),
}  # fmt: skip
SCHEMA = pa.schema([*HEAD.items(), *((name, kind) for name, (kind, _) in VALUES.items())])
NUMBERS = ("n", "i", "d", "f", "b")
FLOATING = ("n", "i", "d", "f")
ANY = tuple(VALUES)
PREDICATES = (
    "i > 0",
    "s = 'u'",
    "b",
    "d >= 0 and s is not null",
    "f > 0.1",
    "n in (1, 2)",
    "not b or b is null",
)


def mostly(
    values: st.SearchStrategy[Any], other: st.SearchStrategy[Any], weight: int = 4
) -> st.SearchStrategy[Any]:
    """The values, and one time in `weight` the other ones (`one_of` would give both the same weight)."""
    return st.integers(0, weight - 1).flatmap(lambda at: other if at == weight - 1 else values)


def any_of(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the strategies, all with the same weight (`one_of` looks into those that are made of several)."""
    return st.integers(0, len(strategies) - 1).flatmap(lambda at: strategies[at])


def instants(low: int = -2, high: int = 12) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def rows_of_events(low: int = -2, high: int = 12) -> st.SearchStrategy[dict[str, Any]]:
    """One delivered version, times in microseconds."""
    values = {name: mostly(strategy, st.none()) for name, (_, strategy) in VALUES.items()}
    return st.fixed_dictionaries({
        "k": st.sampled_from(["a", "a", "a", "b", "c", None]),
        "k2": st.sampled_from([1, 1, 2, None]),
        "happened": mostly(instants(low, high), st.none(), 8),
        "late": st.sampled_from([0, 0, 0, 1, 2, 5, -1]),
        "id": st.sampled_from(["1", "2", "3", "4", "5", "6", None]),
        "gone": st.sampled_from([False, False, False, False, None, True]),
        **values,
    })  # fmt: skip


@st.composite
def histories(draw: st.DrawFn, max_size: int = 20) -> pa.Table:
    """Events in an order of their own; some are delivered again, corrected, moved or withdrawn later on."""
    rows = draw(
        st.lists(rows_of_events(), min_size=draw(st.sampled_from([max_size // 2, 3, 0])), max_size=max_size)
    )
    for row in rows:
        row["known"] = None if row["happened"] is None else row["happened"] + row["late"]
    for _ in range(draw(st.integers(0, 6)) if rows else 0):
        again = dict(rows[draw(st.integers(0, len(rows) - 1))])
        again |= draw(st.sampled_from([{}, {}, {"gone": True}, {"happened": None}, {"k": None}, {"k": "b"}, {"i": 7},
                                       {"f": None}, {"happened": 5}, {"happened": 0}]))  # fmt: skip
        again["known"] = draw(instants(0, 14))
        rows.insert(draw(st.integers(0, len(rows))), again)
    order = draw(st.permutations(range(len(rows))))
    return to_table([{**row, "seq": order[at]} for at, row in enumerate(rows)])


def to_table(rows: Dicts) -> pa.Table:
    """The rows as a table of SCHEMA; times in microseconds."""
    columns = {
        name: pa.array([_as_time(row.get(name)) if kind == US else row.get(name) for row in rows], kind)
        for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)
    }
    return pa.table(columns, schema=SCHEMA)


def _as_time(value: Any) -> datetime | None:
    return EPOCH + timedelta(microseconds=value) if isinstance(value, int) else value


@st.composite
def spines(draw: st.DrawFn, max_size: int = 12, *, own: bool = False) -> pa.Table:
    """Entity keys (some unknown, some null) and times around the events; with `own` a source's columns."""
    asked = st.fixed_dictionaries({
        "k": st.sampled_from(["a", "a", "b", "c", "nobody", None]),
        "k2": st.sampled_from([1, 1, 2, 9, None]),
        "event_time": mostly(instants(-4, 18), st.none(), 8),
        "note": st.sampled_from(["x", "y", None]),
    })  # fmt: skip
    if own:
        asked = st.tuples(asked, rows_of_events()).map(lambda pair: pair[1] | pair[0])
    rows = draw(st.lists(asked, min_size=draw(st.sampled_from([max_size // 2, 3, 0])), max_size=max_size))
    kinds = {"k": pa.string(), "k2": pa.int64(), "event_time": US, "note": pa.string()}
    if own:
        kinds |= {"id": pa.string()} | {name: kind for name, (kind, _) in VALUES.items()}
    return pa.table({
        name: pa.array([_as_time(row[name]) if kind == US else row[name] for row in rows], kind)
        for name, kind in kinds.items()
    })  # fmt: skip


# --------------------------------------------------------------------------------------------------- features
def _plain(function: Any, columns: tuple[str, ...]) -> st.SearchStrategy[Aggregation]:
    return st.sampled_from(columns).map(function)


SMALL_N = st.integers(1, 3)
EXACT = any_of(
    st.just(asof.count()), _plain(asof.count, ANY), _plain(asof.sum, NUMBERS), _plain(asof.mean, NUMBERS),
    _plain(asof.min, ANY), _plain(asof.max, ANY), _plain(asof.var, FLOATING), _plain(asof.std, FLOATING),
    _plain(asof.distinct, ANY), _plain(asof.first, ANY), _plain(asof.last, ANY),
)  # fmt: skip
DECAYED = st.builds(asof.decayed_sum, st.sampled_from(FLOATING), st.sampled_from(["1us", "3us", "1d"]))
SKETCHED = any_of(
    st.builds(asof.quantile, st.sampled_from(FLOATING), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])),
    _plain(asof.approx_distinct, ANY),
)
LISTS = any_of(
    st.builds(asof.first, st.sampled_from(ANY), n=SMALL_N), st.builds(asof.last, st.sampled_from(ANY), n=SMALL_N),
    st.builds(asof.topk, st.sampled_from(ANY), SMALL_N),
)  # fmt: skip
PARTS = any_of(
    st.just(asof.count()), _plain(asof.count, ANY), _plain(asof.sum, NUMBERS), _plain(asof.mean, NUMBERS),
    _plain(asof.max, FLOATING), _plain(asof.std, FLOATING), _plain(asof.distinct, ANY),
)  # fmt: skip


def filtered(what: st.SearchStrategy[Aggregation]) -> st.SearchStrategy[Aggregation]:
    """The aggregation, or the aggregation where a predicate holds."""
    return mostly(what, st.builds(lambda made, sql: made.where(sql), what, st.sampled_from(PREDICATES)), 3)


RATIOS = st.builds(asof.ratio, filtered(PARTS), filtered(PARTS), empty=st.sampled_from([None, 0.0, -1.5]))
MAPS = st.builds(
    lambda made, key: made.by(key),
    filtered(any_of(EXACT, DECAYED, SKETCHED)),
    st.sampled_from(["s", "n", "b"]),
)
AGGREGATIONS = any_of(
    filtered(EXACT),
    filtered(EXACT),
    filtered(LISTS),
    filtered(DECAYED),
    filtered(SKETCHED),
    RATIOS,
    MAPS,
    MAPS,
)


@st.composite
def windowed(draw: st.DrawFn, what: st.SearchStrategy[Aggregation]) -> Aggregation:
    """The aggregation over one window of any kind."""
    made, closed = draw(what), draw(st.sampled_from(["left", "left", "right", "both", "neither"]))
    offset = draw(st.sampled_from([None, None, "1us", "4us"]))
    size = draw(st.sampled_from(["lifetime", "1us", "2us", "3us", "5us", "8us"]))
    hops = [None, None] if size == "lifetime" else [None, None, "1us", "2us", size]
    hop = draw(st.sampled_from(hops))
    hop = None if hop == "2us" and size == "1us" else hop
    return made.over(size, closed=closed, offset=offset, hop=hop)


LATEST = st.builds(lambda column, ttl: asof.latest(column, ttl=ttl), st.sampled_from(ANY),
                   st.sampled_from([None, "0us", "1us", "4us"]))  # fmt: skip


def feature_lists(
    what: st.SearchStrategy[Aggregation] = AGGREGATIONS, *, latest: bool = True, max_size: int = 8
) -> st.SearchStrategy[list[Aggregation | Latest]]:
    """Several features, named f0, f1 ..."""
    each: st.SearchStrategy[Any] = windowed(what)
    each = mostly(each, LATEST, 6) if latest else each
    return st.lists(each, min_size=max(1, max_size // 2), max_size=max_size).map(
        lambda made: [one.named(f"f{number}") for number, one in enumerate(made)]
    )
