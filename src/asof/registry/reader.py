"""Reading an environment over and over: one query for each revision, and a look once a second whether it moved."""

from __future__ import annotations

import threading

from asof.clock import Clock, SystemClock
from asof.registry.state import State
from asof.registry.store import Registry

CHECK_US = 1_000_000


class Reader:
    """Gives an environment's newest state; safe for many threads.

    Between two looks at the revision (`check_us`, a second) a read costs no query; when the environment moved, its
    objects are read again by one query. A reader that cannot reach the registry raises at its look; the state that it
    gave before stays valid for whoever holds it.

    Example:
        >>> from asof.registry.store import open_registry
        >>> from asof.registry.state import Change
        >>> import tempfile
        >>> registry = open_registry(f"sqlite:///{tempfile.mkdtemp()}/registry.sqlite")
        >>> _ = registry.commit(Change("prod", "apply", None))
        >>> Reader(registry, "prod").state().revision
        1
        >>> registry.close()
    """

    def __init__(
        self, registry: Registry, environment: str, *, clock: Clock | None = None, check_us: int = CHECK_US
    ) -> None:
        self._registry = registry
        self._environment = environment
        self._clock = clock or SystemClock()
        self._check_us = check_us
        self._lock = threading.Lock()
        self._state: State | None = None
        self._looked_us = 0

    def state(self) -> State:
        """The environment's state, at most `check_us` old.

        Raises:
            UnknownEnvironment: there is none, or no more. BackendError: the registry cannot be reached.
        """
        state, now_us = self._state, self._clock.now_us()
        if state is not None and 0 <= now_us - self._looked_us < self._check_us:
            return state
        with self._lock:
            state, now_us = self._state, self._clock.now_us()
            if state is not None and 0 <= now_us - self._looked_us < self._check_us:
                return state  # another thread has looked while this one waited
            if state is None or self._registry.revision(self._environment) != state.revision:
                state = self._registry.state(self._environment)
            self._state, self._looked_us = state, now_us
        return state
