"""What a backfill would cost and how large online records would be, from statistics of the real source.

Views over one source and one mapping of its keys share their statistics, so a thousand of them cost about what one
does. The records' arithmetic is in record_size.py, the statistics are in source_profile.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

from asof.clock import format_time
from asof.define.feature_view import FeatureView
from asof.engines.duckdb import DuckDBEngine
from asof.engines.profile import Reach, Times, rung_of
from asof.errors import AsofError
from asof.flows.feature_columns import Progress
from asof.flows.groups import Group, group_features
from asof.flows.record_size import (
    LARGE_RECORD_BYTES,
    Layout,
    has_lifetime,
    has_state,
    layout_of,
    record_bytes,
    smaller_hop,
)
from asof.flows.source_profile import SourceProfile, profile_source
from asof.usage import UsageEvent

# The bench `windows` reads, sorts and folds 5 million rows in about 0.6 s on 2 cores, warm. A backfill writes records
# as well, and other machines are slower.
DEFAULT_ROWS_PER_SECOND = 2_000_000
_READS, _MOVES = {"read", "spill"}, {"read", "spill", "sort"}
_ENOUGH_ROWS = 100_000  # below this a run measures its start
_LIFETIME = "a lifetime window keeps every event: give it a size, or keep the view for training"

_Members = list[tuple[int, FeatureView, Group]]


@dataclass(frozen=True)
class Backfill:
    """What a backfill of one view would read, and the online records that it would leave: all of it estimates.

    Units: `[from_us, until_us)` is the interval of event times; for a view that is not served the whole history, else
    from the first event that any window can still need, None where there is none. `rows`, `read_bytes` (of the
    columns that are read, as files store them) and `seconds` are of reading that interval. Sizes of records are those
    at the newest event, over the `entities` that then have one.
    """

    view: str
    from_us: int | None
    until_us: int
    rows: int = 0
    read_bytes: int = 0
    seconds: float = 0.0
    entities: int = 0
    layout: Layout = "rows"
    record_p50_bytes: int = 0
    record_p99_bytes: int = 0
    record_max_bytes: int = 0
    total_bytes: int = 0
    hot_key: str | None = None
    hop: str | None = None
    hop_bytes: int | None = None
    note: str | None = None


def estimate_backfills(
    engine: DuckDBEngine, views: Sequence[FeatureView], *, now_us: int, rows_per_second: float | None,
    progress: Progress,
) -> list[Backfill]:  # fmt: skip
    """The backfill of each view, in the order of the views; `progress` is called with (stage, asset, done, total).

    Where views over one source have more than 8 different reaches, 8 are measured, and the numbers for the others
    are those of the next longer one. A view whose source cannot be read (no such file, a column that is missing)
    says so in its `note`, and its numbers are 0.
    """
    shared: dict[object, _Members] = {}
    for place, view in enumerate(views):
        (group,) = group_features(view.refs())
        shared.setdefault((group.source, group.key_sql), []).append((place, view, group))
    made: dict[int, Backfill] = {}
    for done, members in enumerate(shared.values(), 1):
        made |= _estimate_all(engine, members, now_us, rows_per_second or DEFAULT_ROWS_PER_SECOND)
        progress("profile", members[0][2].source.name, done, len(shared))
    return [made[place] for place in range(len(views))]


def measured_rows_per_second(events: Iterable[UsageEvent]) -> float | None:
    """The median over past runs of how many rows they read and sorted in a second; None without such a run.

    Runs that failed, and those of fewer than 100,000 rows, do not count.
    """
    rows: dict[str, int] = {}
    seconds: dict[str, float] = {}
    failed: set[str] = set()
    for event in events:
        if event.labels.get("outcome") == "failed":
            failed.add(event.run_id)
        if event.stage in _READS:
            rows[event.run_id] = rows.get(event.run_id, 0) + event.rows
        if event.stage in _MOVES:
            seconds[event.run_id] = seconds.get(event.run_id, 0.0) + event.seconds
    enough = [run for run, n in rows.items() if n >= _ENOUGH_ROWS and seconds[run] > 0 and run not in failed]
    return median(rows[run] / seconds[run] for run in enough) if enough else None


def _estimate_all(
    engine: DuckDBEngine, members: _Members, now_us: int, rows_per_second: float
) -> dict[int, Backfill]:
    made: dict[int, Backfill] = {}
    try:
        profile = profile_source(engine, [(view, group) for _, view, group in members], now_us)
    except AsofError as exc:
        return {place: Backfill(view.name, None, now_us, note=exc.message) for place, view, _ in members}
    for place, view, group in members:
        try:
            made[place] = _estimate(view, group, profile, now_us, rows_per_second)
        except AsofError as exc:
            made[place] = Backfill(view.name, None, now_us, note=exc.message)
    return made


def _estimate(
    view: FeatureView, group: Group, profile: SourceProfile, now_us: int, rows_per_second: float
) -> Backfill:
    profile.check_columns(group)
    made = _interval(view, group, profile, now_us, rows_per_second)
    found = profile.within(_reach(group))
    if found.count:
        made = replace(made, **_records(group, profile, found.count))
        if made.record_max_bytes > LARGE_RECORD_BYTES:
            hop = smaller_hop(group, profile.facts, partial(profile.rows, 1.0, found.count)) or (None, None)
            made = replace(made, hot_key=found.key, hop=hop[0], hop_bytes=hop[1])
    return replace(made, note="; ".join(_notes(view, group, profile.times, made)) or None)


def _reach(group: Group) -> Reach:
    reaches = [feature.window.reach_us for _, feature in group.features]
    return None if None in reaches else max(reach for reach in reaches if reach is not None)


def _interval(
    view: FeatureView, group: Group, profile: SourceProfile, now_us: int, rows_per_second: float
) -> Backfill:
    needed = _reach(group) if view.online else None
    rows, from_us = profile.times.since[rung_of(needed, tuple(profile.times.since))]
    if needed is not None and from_us is not None:
        from_us = max(from_us, now_us - needed)
    if group.is_revised:  # a row out of the interval may supersede one in it
        rows = profile.times.rows
    read_bytes = profile.read_bytes(group, rows)
    seconds = round(rows / rows_per_second, 6)
    return Backfill(view.name, from_us, now_us, rows, read_bytes, seconds, layout=layout_of(group))


def _records(group: Group, profile: SourceProfile, entities: int) -> dict[str, Any]:
    def size(q: float | None, records: int) -> int:
        return record_bytes(group, profile.facts, partial(profile.rows, q, entities), records)

    return {
        "entities": entities,
        "record_p50_bytes": size(0.5, 1),
        "record_p99_bytes": size(0.99, 1),
        "record_max_bytes": size(1.0, 1),
        "total_bytes": size(None, entities),
    }


def _notes(view: FeatureView, group: Group, times: Times, made: Backfill) -> Iterator[str]:
    if times.last_us is None:
        yield f"source {group.source.name!r} has no event before {format_time(made.until_us)}"
    elif made.from_us is None:
        newest = format_time(times.last_us)
        yield f"no event is in any window now: the newest is of {newest}, and sizes are as of then"
    if view.online and has_lifetime(group):
        yield _LIFETIME
    elif made.hot_key is not None and made.hop is None:
        yield _why_no_hop(group, made.layout)


def _why_no_hop(group: Group, layout: Layout) -> str:
    if layout == "tiles":
        return "the largest record is over 64 KiB with its hops: make them longer"
    if group.is_revised:
        return "a revised source keeps its events, a hop does not make a record smaller: shorten the longest window"
    whole = [name for (_, name), feature in group.features if not has_state(feature)]
    if whole:
        return f"{whole[0]!r} needs the events themselves, so a hop does not help here: give it a view of its own"
    unsized = [name for (_, name), feature in group.features if feature.window.size_us is None]
    if unsized:
        return f"{unsized[0]!r} has no size, so a hop does not help here: give it a view of its own"
    return "no hop that fits all windows brings the largest record below 64 KiB: give the longest a view of its own"
