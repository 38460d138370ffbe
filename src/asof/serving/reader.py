"""What the server needs of whoever reads the online store: `flows/live_reader.py`, or a small one in a test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from asof.errors import AsofError
from asof.flows.answer import Answer
from asof.flows.online_service import ServiceInfo

_log = logging.getLogger(__name__)


class Known(Protocol):
    """What a reader tells of itself."""

    @property
    def environment(self) -> str | None:
        """The environment that it serves, None for the code alone."""
        ...

    @property
    def embedded(self) -> bool:
        """True where a read takes microseconds, so that it may run in the event loop."""
        ...

    @property
    def revision(self) -> int | None:
        """The registry's revision that it serves."""
        ...

    @property
    def problem(self) -> str | None:
        """Why it does not serve what the registry says, where it does not."""
        ...


class Reader(Known, Protocol):
    """Reads services from the online store; safe to call from several threads."""

    def read(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        """The features of some entities."""
        ...

    def services(self) -> tuple[str, ...]:
        """The names of the services that there are."""
        ...

    def describe(self, service: str) -> ServiceInfo:
        """One service; raises UnknownName."""
        ...

    def refresh(self) -> bool:
        """Asks the registry for what is new, and tells whether it changed something."""
        ...

    def check(self) -> None:
        """Raises when it could not serve."""
        ...

    def close(self) -> None:
        """Lets go of store and registry."""
        ...


def warm(reader: Reader) -> None:
    """One read of every service for no entity, so that the first request finds everything loaded and compiled."""
    for name in reader.services():
        try:
            found = reader.describe(name)
            request = {column: [None] for column, _ in found.request} or None
            reader.read(name, {column: [None] for column, _ in found.keys}, request)
        except AsofError as exc:
            _log.info("serving: service %r is not ready: %s", name, exc.message)
