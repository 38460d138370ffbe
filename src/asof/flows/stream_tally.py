"""What workers have done since they were started: a `Watch` that counts, for metrics, a live line and a summary."""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from asof.compute.arrays import Ints
from asof.flows.stream_apply import ViewReceipt
from asof.flows.stream_events import EventBatch

SERVABLE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of how long events took from being taken by the stream to being servable."""
_BOUNDS_US = np.array([round(bound * 1e6) for bound in SERVABLE_S])


@dataclass
class SourceTally:
    """What was done with the events of one source.

    Args:
        events: how many were read, those that could not be used included.
        dead: how many of them could not be used.
        servable: for each bucket of `SERVABLE_S`, and those beyond, how many events took so long; not added up.
        servable_us: how long all of them took together.
        views: what was done to each view.
    """

    events: int = 0
    dead: int = 0
    servable: Ints = field(default_factory=lambda: np.zeros(len(SERVABLE_S) + 1, np.int64))
    servable_us: int = 0
    views: dict[str, ViewReceipt] = field(default_factory=dict[str, ViewReceipt])


class Tally:
    """Counts for several workers, each in its own thread.

    Example:
        >>> tally = Tally()
        >>> tally.dead("tx", 2)
        >>> tally.read()["tx"].events
        2
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: dict[str, SourceTally] = {}

    def applied(
        self, source: str, batch: EventBatch, views: dict[str, ViewReceipt], servable_us: Ints
    ) -> None:
        """Counts a batch that is in the records."""
        buckets = np.bincount(np.searchsorted(_BOUNDS_US, servable_us), minlength=len(SERVABLE_S) + 1)
        with self._lock:
            mine = self._of(source)
            mine.events += batch.size
            mine.servable += buckets
            mine.servable_us += int(servable_us.sum())
            for name, receipt in views.items():
                mine.views.setdefault(name, ViewReceipt()).__iadd__(receipt)

    def dead(self, source: str, count: int) -> None:
        """Counts events that could not be used."""
        with self._lock:
            mine = self._of(source)
            mine.events += count
            mine.dead += count

    def read(self) -> dict[str, SourceTally]:
        """What was counted so far, by source."""
        with self._lock:
            return deepcopy(self._sources)

    def _of(self, source: str) -> SourceTally:
        return self._sources.setdefault(source, SourceTally())
