"""A reader that follows an environment: what the registry says is applied is what is served.

Definitions come from the project's code, and only those whose fingerprint the environment points at are served. When
the environment moves, `refresh` loads the code anew and swaps all at once; a read that is under way ends as it began.
What cannot be loaded leaves the old state in place and is told in `problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from asof.define.fingerprint import fingerprint
from asof.define.service import FeatureService
from asof.errors import AsofError, StateError
from asof.flows.answer import Answer
from asof.flows.online_service import ServiceInfo
from asof.flows.read_online import OnlineReader
from asof.registry.state import State
from asof.registry.store import Registry

if TYPE_CHECKING:
    from asof.flows.project import Project

Load = Callable[[], "Project"]


class LiveReader:
    """Reads the services of an environment, from several threads if need be. Made by `Project.online(environment)`."""

    def __init__(
        self, load: Load, first: Project, registry: Registry, environment: str, reader: OnlineReader
    ) -> None:
        self.environment = environment
        self.problem: str | None = None
        self.revision: int = 0
        self._tried = 0
        self._pause = self._calls_left = 0
        self._load, self._registry, self._reader = load, registry, reader
        self._adopt(first, registry.state(environment))

    @property
    def embedded(self) -> bool:
        """True where a read takes microseconds, so that it may run in an event loop."""
        return self._reader.embedded

    def services(self) -> tuple[str, ...]:
        """The names of the services that are served."""
        return self._reader.services()

    def describe(self, service: str) -> ServiceInfo:
        """See `OnlineReader.describe`."""
        return self._reader.describe(service)

    def read(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        """See `OnlineReader.read`."""
        return self._reader.read(service, entities, request, at)

    async def read_async(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        """See `OnlineReader.read_async`."""
        return await self._reader.read_async(service, entities, request, at)

    def check(self) -> None:
        """Nothing, when all services can be read; see `OnlineReader.check`.

        Raises:
            StateError: the environment has services, and none of them is served.
        """
        if self.problem is not None and not self.services():
            raise StateError(self.problem, hint="deploy the code that was applied, or apply this one")
        self._reader.check()

    def refresh(self) -> bool:
        """True when the environment has moved and its new state is served; never raises for a state that is broken.

        While something is wrong with the new state it is tried again: after one call, two, four ... and at most 32.
        """
        try:
            revision = self._registry.revision(self.environment)
            if revision is None or (revision == self.revision and self.problem is None):
                return False
            if self._calls_left > 0 and revision == self._tried:
                self._calls_left -= 1
                return False
            self._tried = revision
            self._adopt(self._load(), self._registry.state(self.environment))
        except AsofError as exc:
            self.problem = exc.message
        self._pause = 0 if self.problem is None else min(32, max(1, 2 * self._pause))
        self._calls_left = self._pause
        return self.problem is None

    def close(self) -> None:
        """Lets go of the store and the registry."""
        self._reader.close()
        self._registry.close()

    def _adopt(self, project: Project, state: State) -> None:
        wanted = {s.name: s.fingerprint for s in state.specs.values() if s.kind == "feature_service"}
        coded = {each.name: each for each in project.definitions.all() if isinstance(each, FeatureService)}
        served: dict[str, FeatureService] = {}
        absent: list[str] = []
        for name, print_ in wanted.items():
            before = self._reader.find(name)
            known = (coded.get(name), before)
            found = next((each for each in known if each is not None and fingerprint(each) == print_), None)
            if found is None:
                absent.append(name)
                found = before if self.revision else None  # the last good one; at the start there is none
            if found is not None:
                served[name] = found
        self._reader = self._reader.serving(served, project.engine())
        self.problem = _problem(self.environment, absent)
        if self.problem is None or self.revision == 0:
            self.revision = state.revision


def _problem(environment: str, absent: Sequence[str]) -> str | None:
    if not absent:
        return None
    names = ", ".join(sorted(absent)[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
    return f"environment {environment!r} points at versions of {names} that this code does not have"
