"""What a source really holds: rows over time, and rows of each entity.

Each answer is one aggregate query of the engine over the rows of a scan, so zones, derived columns and mapped keys
are as everywhere else. However large the source, what comes back is small: a few thousand cells of a distribution,
and of all keys the text of the largest, as a hash where a key is personal. flows/estimate.py makes a plan of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil

from asof.engines.duckdb import DuckDBEngine
from asof.engines.scan import EVENT, Scan

Reach = int | None
_Cell = tuple[
    int, int, int, str | None
]  # entities, their rows, the most of one, its key where it is the largest

MAX_REACHES = 8
_KEY_CHARACTERS = 64
_EXACT, _STEPS = 64, 16  # cells: one for each count below 64, from there on 16 for each doubling (4.4 % wide)
_CELL = f"CASE WHEN c < {_EXACT} THEN c ELSE floor(log2(c) * {_STEPS})::BIGINT END"


@dataclass(frozen=True)
class Times:
    """Rows over time: `rows` counts all, those without a time too; the rest is of rows before `now` with one.

    `since` has, for each reach, how many rows lie in `[now - reach, now)` and the first event time among them.
    """

    rows: int
    first_us: int | None
    last_us: int | None
    since: Mapping[Reach, tuple[int, int | None]]


@dataclass(frozen=True)
class KeyRows:
    """How the rows within one reach are spread over entities, as cells of entities with about as many rows.

    Cells stand in order of size; `sizes` are their mean numbers of rows, `entities` and `rows` are running totals.
    """

    sizes: tuple[float, ...] = ()
    entities: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    most: int = 0
    key: str | None = None

    @property
    def count(self) -> int:
        """The number of entities that have a row."""
        return self.entities[-1] if self.entities else 0

    def quantile(self, q: float, among: int) -> float:
        """The q-quantile (nearest rank) of rows over `among` entities; those that are not here have none.

        Exact below 64 rows, within 5 % above; the largest (q = 1) is exact.
        """
        if q >= 1:
            return self.most
        rank = max(1, ceil(q * among)) - (among - self.count)
        return self.sizes[bisect_left(self.entities, rank)] if rank > 0 and self.sizes else 0.0

    def total(self, cap: float) -> float:
        """The sum over entities of the smaller of their rows and `cap`."""
        below = bisect_right(self.sizes, cap)
        if below == len(self.sizes):
            return float(self.rows[-1]) if below else 0.0
        rows, entities = (self.rows[below - 1], self.entities[below - 1]) if below else (0, 0)
        return rows + cap * (self.count - entities)


def rungs(reaches: Iterable[Reach]) -> tuple[Reach, ...]:
    """At most 8 reaches that stand for these, in order, with None (everything) at the end if it is one of them.

    Where there are more, those that are near a longer one are left out, and it stands for them: see `rung_of`.

    Example:
        >>> rungs([30, None, 1, 7]), rungs(range(1, 101))
        ((1, 7, 30, None), (1, 3, 6, 13, 26, 51, 100))
    """
    different = set(reaches)
    last = (None,) if None in different else ()
    finite = sorted((reach for reach in different if reach is not None), reverse=True)
    kept, factor = finite, 1.0
    while len(kept) + len(last) > MAX_REACHES:
        factor *= 1.25
        kept = finite[:1]
        for reach in finite:
            if reach * factor <= kept[-1]:
                kept.append(reach)
    return (*reversed(kept), *last)


def rung_of(reach: Reach, among: Sequence[Reach]) -> Reach:
    """The shortest of some rungs that holds a reach."""
    return next((rung for rung in among if rung is not None and reach is not None and reach <= rung), None)


def profile_times(
    engine: DuckDBEngine, scans: Sequence[Scan], reaches: Sequence[Reach], now_us: int
) -> Times:
    """Rows over time of these scans together, and how many a window of each reach can need at `now_us`."""
    before = f"{EVENT} < {now_us}"
    picked = ["count(*)", f"min({EVENT}) FILTER ({before})", f"max({EVENT}) FILTER ({before})"]
    for reach in reaches:
        inside = before if reach is None else f"{before} AND {EVENT} >= {now_us - reach}"
        picked += [f"count(*) FILTER ({inside})", f"min({EVENT}) FILTER ({inside})"]
    bare = [replace(scan, keys=(), values=(), predicates=()) for scan in scans]
    table = engine.summarize(bare, f"SELECT {', '.join(picked)} FROM asof_rows")
    rows, first, last, *rest = (column[0].as_py() for column in table.columns)
    since = {reach: (rest[2 * i], rest[2 * i + 1]) for i, reach in enumerate(reaches)}
    return Times(rows, first, last, since)


def profile_keys(
    engine: DuckDBEngine, scans: Sequence[Scan], reaches: Sequence[Reach], last_us: int, *, personal: bool
) -> dict[Reach, KeyRows]:
    """For each reach before `last_us`, how the rows up to then are spread over the entities of these scans; rows
    that are older than any reach are not read.

    Empty/null/late: rows without a key or an event time belong to no entity. Ties: of the largest entities the one
    whose text is last. A personal key is told as `sha256:` and 8 digits of its hash; any other is cut to 64
    characters, those that cannot be printed replaced.
    """
    keys = [f"k{i}" for i in range(len(scans[0].keys))]
    oldest = None if None in reaches else last_us - max(reach for reach in reaches if reach is not None)
    ranged = None if oldest is None else (oldest, last_us + 1)
    bare = [replace(scan, values=(), predicates=(), event_range=ranged) for scan in scans]
    table = engine.summarize(bare, _keys_sql(keys, reaches, last_us, personal=personal))
    cells: dict[int, list[_Cell]] = {}
    for rung, entities, rows, most, key in zip(
        *(column.to_pylist() for column in table.columns), strict=True
    ):
        cells.setdefault(rung, []).append((entities, rows, most, key))
    return {reach: _key_rows(cells.get(i, [])) for i, reach in enumerate(reaches)}


def _keys_sql(keys: Sequence[str], reaches: Sequence[Reach], last_us: int, *, personal: bool) -> str:
    starts = [None if reach is None else last_us - reach for reach in reaches]
    counts = ["count(*)" if lo is None else f"count(*) FILTER ({EVENT} >= {lo})" for lo in starts]
    names = [f"c{i}" for i in range(len(reaches))]
    text = " || ', ' || ".join(f"{key}::VARCHAR" for key in keys)
    shown = "'sha256:' || left(sha256(hot), 8) || '…'" if personal else f"left(hot, {_KEY_CHARACTERS})"
    tests = " AND ".join([f"{EVENT} <= {last_us}", *(f"{key} IS NOT NULL" for key in keys)])
    each = ", ".join(f"{count} AS {name}" for count, name in zip(counts, names, strict=True))
    per_key = f"SELECT {', '.join(keys)}, {each} FROM asof_rows WHERE {tests} GROUP BY {', '.join(keys)}"
    long = (
        f"SELECT {text} AS key_text, unnest({list(range(len(names)))}) AS rung,"
        f" unnest([{', '.join(names)}]) AS c FROM ({per_key})"
    )
    cells = (
        f"SELECT rung, {_CELL} AS cell, count(*) AS entities, sum(c)::BIGINT AS total, max(c) AS most,"
        f" arg_max(key_text, (c, key_text)) AS hot FROM ({long}) WHERE c > 0 GROUP BY rung, cell"
    )
    largest = f"CASE WHEN most = max(most) OVER (PARTITION BY rung) THEN {shown} END"
    return f"SELECT rung, entities, total, most, {largest} AS hot FROM ({cells}) ORDER BY rung, most"


def _key_rows(cells: Sequence[_Cell]) -> KeyRows:
    if not cells:
        return KeyRows()
    return KeyRows(
        sizes=tuple(rows / entities for entities, rows, _, _ in cells),
        entities=tuple(accumulate(cell[0] for cell in cells)),
        rows=tuple(accumulate(cell[1] for cell in cells)),
        most=cells[-1][2],
        key="".join(letter if letter.isprintable() else "\ufffd" for letter in cells[-1][3] or ""),
    )
