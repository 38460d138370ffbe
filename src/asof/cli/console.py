"""Progress on stderr: bars on a terminal, one line a stage elsewhere; nothing on stdout."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.status import Status

from asof.compute import _jit


class ProgressBars:
    """A `with` block whose `step(stage, asset, done, total)` shows how far a flow has come."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(file=sys.stderr, quiet=quiet)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._compiling = False

    def __enter__(self) -> Self:
        _jit.on_compile(self._on_compile)
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<44}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(),
                console=self._console,
            )  # fmt: skip
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _jit.on_compile(None)
        if self._bars is not None:
            self._bars.stop()

    def step(self, stage: str, asset: str, done: int, total: int) -> None:
        """Show that `done` of `total` of a stage are done."""
        name = f"{stage} {asset if stage != 'compute' else asset.partition('.')[0]}"
        if self._bars is None:
            if name not in self._told:
                self._told.add(name)
                self._console.print(f"{name} ...", highlight=False)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)

    def _on_compile(self, name: str) -> None:
        del name
        if not self._compiling:
            self._compiling = True
            self._console.print("compiling kernels (once on this machine, some seconds) ...", highlight=False)


class LiveLine:
    """A `with` block whose `show(text)` replaces the last line of a terminal; elsewhere each is a line of its own."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(file=sys.stderr, quiet=quiet)
        self._status: Status | None = None

    @property
    def is_terminal(self) -> bool:
        """True where a line is replaced by the next one."""
        return self._console.is_terminal

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, text: str) -> None:
        """Show this line."""
        if self._status is None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            self._status.update(escape(text))


def color() -> bool | None:
    """What `click.echo` takes: no colours where NO_COLOR is set, else as the stream is a terminal."""
    return False if "NO_COLOR" in os.environ else None
