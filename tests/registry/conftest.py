"""An empty database of each kind, and registries in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asof.registry.store import Registry, open_registry
from asof.testing.clock import FakeClock

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.service("postgres"))]
Open = Callable[..., Registry]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.sqlite"
        return
    server = request.getfixturevalue("postgres")
    made = server.create()
    yield made
    server.drop(made)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2025-01-01")


@pytest.fixture
def opened(url: str, clock: FakeClock) -> Iterator[Open]:
    """Opens registries in that database, one for each call; they are closed after the test."""
    made: list[Registry] = []

    def another(**options: object) -> Registry:
        made.append(open_registry(url, clock=clock, **options))
        return made[-1]

    yield another
    for each in made:
        each.close()


@pytest.fixture
def registry(opened: Open) -> Registry:
    return opened()
