"""How our time grows: 1, 5 and 20 million events by 100 thousand and 1 million spine rows, the features of `windows`.

Bar: from one size to the next, time grows by no more than n log n does, and a quarter for noise. Where events
grow, n is events + spine rows; where the spine grows, n is the spine rows (the sum hardly grows there, while
the answer does). The accounts stay 50,000, so windows hold more events as the log grows: the work of fresh sums
grows with both.
"""

from __future__ import annotations

import math
from itertools import pairwise, product

from bench import data
from bench.harness import OURS, Measured, Options, Row, measure
from bench.windows import ours

BAR = "<= 1.25"
Cells = dict[tuple[int, int], Measured]


def run(options: Options) -> list[Row]:
    if not options.ours:
        print("bench: scaling has no other side")
        return []
    events, spines = (1_000_000, 5_000_000, 20_000_000), (100_000, 1_000_000)
    if options.quick:
        events, spines = (200_000, 1_000_000), (10_000, 100_000)
    cells: Cells = {}
    for rows, asked in product(events, spines):
        found = _cell(options, rows, asked, spines)
        if found is None:
            return [Row("scaling", "scaling", None, None, "itself", bar=BAR, failed=True)]
        cells[rows, asked] = found
    made = [_base(cells, events[0], spines[0])]
    for asked, (small, large) in product(spines, pairwise(events)):
        made.append(_step(cells, (small, asked), (large, asked), small + asked, large + asked))
    for rows, (small, large) in product(events, pairwise(spines)):
        made.append(_step(cells, (rows, small), (rows, large), small, large))
    return made


def _cell(options: Options, rows: int, asked: int, spines: tuple[int, ...]) -> Measured | None:
    log = data.events(rows, spines)
    arguments = {"log": log.log, "spine": log.spine(asked), "key": "account_id", "amount": "amount"}
    return measure([ours(arguments)], options, runs=min(options.runs, 3)).get(OURS)


def _base(cells: Cells, rows: int, asked: int) -> Row:
    base = cells[rows, asked]
    name = f"scaling-{_size(rows)}-{_size(asked)}"
    notes = [_peak((rows, asked), base)]
    return Row("scaling", name, base.median, None, "", sides={OURS: base}, notes=notes)


def _step(cells: Cells, small: tuple[int, int], large: tuple[int, int], n1: int, n2: int) -> Row:
    """The time of the larger cell against what n log n allows from the smaller one."""
    before, after = cells[small], cells[large]
    growth = n2 * math.log(n2) / (n1 * math.log(n1))
    axis = "events" if small[1] == large[1] else "spine"
    name = f"scaling-{axis}-{_size(large[0])}-{_size(large[1])}"
    fit = f"time grew {after.median / before.median:.2f}x, n log n {growth:.2f}x (n {n1:,} -> {n2:,}); tolerance 1.25"
    other = f"n log n from {_size(small[0])}, {_size(small[1])}"
    notes = [fit, _peak(large, after)]
    return Row(
        "scaling",
        name,
        after.median,
        before.median * growth,
        other,
        bar=BAR,
        sides={OURS: after},
        notes=notes,
    )


def _peak(cell: tuple[int, int], side: Measured) -> str:
    return f"{cell[0]:,} events, {cell[1]:,} spine rows: peak memory {side.peak / 1e9:.2f} GB"


def _size(rows: int) -> str:
    return f"{rows // 1_000_000}M" if rows >= 1_000_000 else f"{rows // 1_000}k"
