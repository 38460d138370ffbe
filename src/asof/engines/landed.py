"""What a stream has landed of a source: Parquet files that follow the source's declared history.

A worker writes `<source>/hour=2026-03-01T09/p00002-<start>-<end>.parquet`: the events of one partition with offsets in
`[start, end)`, the raw columns of the source and `_asof_partition` and `_asof_offset` beside them. Which files count
follows from their names, so that a reader needs no list and a writer no lock.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PARTITION, OFFSET = "_asof_partition", "_asof_offset"
_HOUR = re.compile(r"hour=\d{4}-\d{2}-\d{2}T\d{2}", re.ASCII)
_FILE = re.compile(r"p(\d{5})-(\d{20})-(\d{20})\.parquet", re.ASCII)


@dataclass(frozen=True)
class LandedFile:
    """A landed file, as its name tells: events of one partition and hour, with offsets in `[start, end)`."""

    hour: str
    partition: int
    start: int
    end: int

    @property
    def path(self) -> str:
        """The file below its source's folder.

        Example:
            >>> LandedFile("2026-03-01T09", 2, 0, 100).path
            'hour=2026-03-01T09/p00002-00000000000000000000-00000000000000000100.parquet'
        """
        return f"hour={self.hour}/p{self.partition:05}-{self.start:020}-{self.end:020}.parquet"


def parse_landed(path: Path) -> LandedFile | None:
    """What the last two parts of a path tell; None for anything that is no landed file (a half-written one, say)."""
    name = _FILE.fullmatch(path.name)
    if name is None or _HOUR.fullmatch(path.parent.name) is None:
        return None
    partition, start, end = map(int, name.groups())
    return LandedFile(path.parent.name.removeprefix("hour="), partition, start, end) if start < end else None


def landed_files(folder: Path) -> list[Path]:
    """The files of a source's folder that count, in the order in which they are read; none where nothing landed."""
    return choose_files(folder.glob("hour=*/p*.parquet"))


def choose_files(paths: Iterable[Path]) -> list[Path]:
    """Of each partition the chain of files that tells the most events, none of them twice; by hour, partition and
    offset.

    Files that overlap repeat events: pieces of a merged file that are not removed yet, or what a worker has landed
    before it died, and its successor in other pieces. What workers have said to be landed is a chain without gaps, so
    that none tells more.
    """
    partitions: dict[int, list[tuple[LandedFile, Path]]] = {}
    for path in paths:
        found = parse_landed(path)
        if found is not None:
            partitions.setdefault(found.partition, []).append((found, path))
    taken = [each for named in partitions.values() for each in _longest_chain(named)]
    return [
        path for _, path in sorted(taken, key=lambda each: (each[0].hour, each[0].partition, each[0].start))
    ]


def _longest_chain(named: list[tuple[LandedFile, Path]]) -> list[tuple[LandedFile, Path]]:
    """The files without an overlap that hold the most offsets, and of such chains one of the fewest files."""
    named = sorted(named, key=lambda each: (each[0].end, each[0].start, each[0].hour))
    ends = [file.end for file, _ in named]
    best: list[tuple[int, int]] = [
        (0, 0)
    ]  # of the first n files: offsets held, and minus the number of files
    takes: list[int] = [-1]  # how many files before it the last of them goes on from; -1: it is not taken
    for number, (file, _) in enumerate(named):
        before = bisect_right(ends, file.start, hi=number)
        offsets, files = best[before]
        made = offsets + file.end - file.start, files - 1
        takes.append(before if made > best[number] else -1)
        best.append(max(made, best[number]))
    chain: list[tuple[LandedFile, Path]] = []
    at = len(named)
    while at:
        if takes[at] >= 0:
            chain.append(named[at - 1])
        at = takes[at] if takes[at] >= 0 else at - 1
    return chain


def quote(name: str) -> str:
    """A column's or table's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def united_sql(declared: str, wanted: Mapping[str, str], landed: str, found: Mapping[str, str]) -> str:
    """The rows of a declared history and then those that were landed, as a FROM clause with the declared columns.

    Args:
        declared: FROM clause of the declared history.
        wanted: its columns and their types.
        landed: FROM clause of the landed files.
        found: their columns and types; one that is missing is null, one of another type is cast.

    Example:
        >>> united_sql("a", {"x": "BIGINT", "y": "DATE", "z": "DATE"}, "b", {"X": "INTEGER", "z": "DATE"})
        '(SELECT "x", "y", "z" FROM a UNION ALL SELECT "X"::BIGINT AS "x", NULL::DATE AS "y", "z" FROM b)'
    """
    names = {name.lower(): name for name in found}
    picked = [
        _picked(name, kind, named, found.get(named or ""))
        for name, kind in wanted.items()
        for named in (names.get(name.lower()),)
    ]
    columns = ", ".join(quote(name) for name in wanted)
    return f"(SELECT {columns} FROM {declared} UNION ALL SELECT {', '.join(picked)} FROM {landed})"


def _picked(name: str, kind: str, found: str | None, found_kind: str | None) -> str:
    if found is None:
        return f"NULL::{kind} AS {quote(name)}"
    if kind.startswith("ENUM("):  # which events may have other values of
        kind = "VARCHAR"
    if kind in {found_kind, '"NULL"'}:  # a column of a table in memory that has no type yet
        return quote(name) if found == name else f"{quote(found)} AS {quote(name)}"
    return f"{quote(found)}::{kind} AS {quote(name)}"
