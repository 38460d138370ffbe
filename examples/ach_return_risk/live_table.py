"""A table of some accounts on the terminal, read from the online store again and again while events stream in.

On a terminal it stays in its place; elsewhere a plain line tells now and then how far the day is.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import datetime
from types import TracebackType
from typing import Self

import pyarrow as pa
from rich.console import Console
from rich.live import Live
from rich.table import Table

import asof
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.service import FeatureService
from asof.flows.read_online import OnlineReader

WANTED = ("count_1h", "count_1d", "spent_sum_1d", "net_sum_7d", "reversed_7d", "logins_1d")
ACCOUNTS = 8
_LINE_EVERY_S = 4.0


class LiveTable:
    """A `with` block that shows the features of the accounts with the most rows to come."""

    def __init__(
        self, project: asof.Project, reader: OnlineReader, tables: dict[str, pa.Table], *, quiet: bool
    ) -> None:
        self._console = Console(file=sys.stderr, quiet=quiet)
        features = features_of_accounts(project)
        self._names = [ref.name for ref in features]
        self._reader = None
        if features:
            self._reader = reader.serving({"live": FeatureService("live", features)}, project.engine())
        self._accounts = busiest(tables)
        self._before: dict[tuple[str, str], str] = {}
        self._live: Live | None = None
        self._next_line_s = 0.0
        self._last = (time.monotonic(), 0)
        self._rate = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now: datetime, events: int, wait_ms: tuple[float, float]) -> None:
        """Shows the day at an instant, after so many events."""
        at_s, before = time.monotonic(), self._last
        if at_s - before[0] >= 1.0:
            self._rate, self._last = (events - before[1]) / (at_s - before[0]), (at_s, events)
        told = (
            f"{now:%a %d %b %H:%M} UTC   {events:,} events, {self._rate:,.0f} a second,"
            f" servable after {wait_ms[0]:.1f} ms (p99 {wait_ms[1]:.1f} ms)"
        )
        if self._live is not None:
            self._live.update(self._table(told), refresh=True)
        elif at_s >= self._next_line_s:
            self._next_line_s = at_s + _LINE_EVERY_S
            self._console.print(f"stream {told}", highlight=False, soft_wrap=True)

    def _table(self, told: str) -> Table:
        table = Table(title=told, title_justify="left", title_style="")
        table.add_column("account")
        for name in self._names:
            table.add_column(name, justify="right", min_width=10)
        if self._reader is None:
            return table
        rows = self._reader.read("live", {"account_id": self._accounts}).to_arrow().to_pylist()
        for account, row in zip(self._accounts, rows, strict=True):
            table.add_row(account, *(self._cell(account, name, row[name]) for name in self._names))
        return table

    def _cell(self, account: str, name: str, value: object) -> str:
        """A value, bold where it has just moved."""
        text = "-" if value is None else f"{value:,}"
        moved = self._before.get((account, name), text) != text
        self._before[account, name] = text
        return f"[bold green]{text}[/]" if moved else text


def features_of_accounts(project: asof.Project) -> list[FeatureRef]:
    """The features to show, of those that the project defines for accounts."""
    views = [each for each in project.definitions.all() if isinstance(each, FeatureView)]
    found = {ref.name: ref for view in views if view.entity.name == "account" for ref in view.refs()}
    return [found[name] for name in WANTED if name in found]


def busiest(tables: dict[str, pa.Table]) -> list[str]:
    """The accounts with the most rows."""
    counts = Counter(str(each) for rows in tables.values() for each in rows["account_id"].to_pylist())
    return [account for account, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:ACCOUNTS]]
