"""Many processes that apply to one registry at once; after it, whether each apply landed whole or left nothing.

`main(FOLDER, SCENARIO, COUNT)` prints JSON. Scenarios:

- `one`: all have planned on the same revision of `prod` and apply in the same moment. One lands; the others are
  refused, plan anew and try again, until all have landed.
- `own`: each makes an environment of its own from `prod`. Nobody is in anybody's way but in the database.

Each applier brings 20 views of its own and takes out whatever was there. A wrong history ends the process with an
error.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import sys
import time
from builtins import sum as total
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asof
from asof import Entity, Events, FeatureService, FeatureView, Parquet, count, sum
from asof.config import Config, load_config
from asof.errors import BackendError, RegistryMoved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.synchronize import Barrier

    from asof.define.spec import Spec
    from asof.registry.store import Registry

SCENARIOS = ("one", "own")
VIEWS = 20
PATIENCE_S = 180  # of the whole scenario: whoever has not ended by then hangs


@dataclass
class Applier:
    """What one applier saw: `waits_s` are the seconds of each of its applies, refused ones included."""

    number: int
    environment: str
    revision: int | None = None
    planned_on: int | None = None
    refused: int = 0
    locked_out: int = 0
    waits_s: list[float] = field(default_factory=list)
    began_s: float = 0.0
    ended_s: float = 0.0
    error: str | None = None


def project_of(number: int, config: Config) -> asof.Project:
    """20 views, 200 features and a service that no other applier has."""
    account = Entity("account", keys={"account_id": "int64"})
    events = Events("events", Parquet("events.parquet"), event_time="at")
    views: list[FeatureView] = []
    for i in range(VIEWS):
        where = f"amount > {number} AND category = {i}"
        counts = count().where(where).named("n_{window}").over("1h", "1d", "7d", "30d", "90d")
        sums = sum("amount").where(where).named("total_{window}").over("1h", "1d", "7d", "30d", "90d")
        name = f"view_{number:03d}_{i:02d}"
        views.append(FeatureView(name, entity=account, source=events, features=[counts, sums]))
    service = FeatureService(
        f"service_{number:03d}", features=[view["n_1d"].named(view.name) for view in views]
    )
    return asof.Project([*views, service], config=config)


def work(applier: Applier, folder: str, ready: Barrier, answers: Any) -> None:
    """The process of one applier."""
    try:
        project = project_of(applier.number, load_config(Path(folder), os.environ))
        plan = project.plan(applier.environment, create=True, estimates=False)
        ready.wait(PATIENCE_S)
        applier.began_s = time.monotonic()  # of the machine: comparable between processes
        while applier.revision is None:
            started = time.perf_counter()
            try:
                applier.revision, applier.planned_on = project.apply(plan), plan.target.revision
            except RegistryMoved:
                applier.refused += 1
            except BackendError as exc:
                if not exc.retryable:
                    raise
                applier.locked_out += 1
            applier.waits_s.append(time.perf_counter() - started)
            if applier.revision is None:
                plan = project.plan(applier.environment, create=True, estimates=False)
        applier.ended_s = time.monotonic()
    except Exception as exc:  # noqa: BLE001 - the other end tells it
        applier.error = f"{type(exc).__name__}: {exc}"
    answers.put(asdict(applier))


def main(folder: str, scenario: str, appliers: int) -> None:
    config = load_config(Path(folder), os.environ)
    seed = project_of(appliers, config)
    assert seed.apply(seed.plan("prod", estimates=False)) == 1
    found = _run(folder, scenario, appliers)
    failed = [each.error for each in found if each.error]
    if failed or not found:
        sys.exit(
            f"{len(failed)} of {appliers} appliers failed: {failed[0] if failed else 'none has answered'}"
        )
    registry = seed.registry()
    try:
        clock_steps_back = check_history(registry, found, config)
    finally:
        registry.close()
    facts = {
        "landed": len(found),
        "hanging": appliers - len(found),
        "refused": total(each.refused for each in found),
        "locked_out": total(each.locked_out for each in found),
        "longest_s": max(wait for each in found for wait in each.waits_s),
        "seconds": max(each.ended_s for each in found) - min(each.began_s for each in found),
        "clock_steps_back": clock_steps_back,
    }
    print(json.dumps(facts))


def _run(folder: str, scenario: str, appliers: int) -> list[Applier]:
    """The appliers that ended in time; their processes are forked from one that has imported asof."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asof.flows.project", "bench.registry_appliers"])
    ready, answers = context.Barrier(appliers), context.Queue()
    mine = [Applier(i, "prod" if scenario == "one" else f"own-{i:03d}") for i in range(appliers)]
    processes = [
        context.Process(target=work, args=(each, folder, ready, answers), daemon=True) for each in mine
    ]
    for process in processes:
        process.start()
    end_s = time.monotonic() + PATIENCE_S
    found: list[Applier] = []
    with suppress(queue.Empty):
        while len(found) < appliers:
            found.append(Applier(**answers.get(timeout=max(end_s - time.monotonic(), 0))))
    for process in processes:
        process.kill()
        process.join()
    return found


def check_history(registry: Registry, found: list[Applier], config: Config) -> int:
    """How often the history's times step back from one revision to the next; nothing else may be amiss with it.

    Numbers run from 1 without a gap, one for each applier that landed and the first; each was planned on the
    revision before it; and at each revision the environment holds what its applier brought, all of it and no more.
    """
    history = registry.history(limit=10 * len(found) + 10)[::-1]
    assert [each.number for each in history] == list(range(1, len(found) + 2)), "the numbers have gaps"
    by_number = {each.revision: each for each in found}
    assert len(by_number) == len(found), "two appliers have one revision"
    for before, revision in pairwise(history):
        applier = by_number[revision.number]
        assert revision.environment == applier.environment
        assert applier.planned_on == (before.number if applier.environment == "prod" else None), (
            "not straight"
        )
        state = registry.state(applier.environment, at=revision.number)
        brought = project_of(applier.number, config).definitions.specs()
        assert not state.corrupted
        assert _digests(state.specs) == _digests(brought), "not whole"
    return total(after.at_us < before.at_us for before, after in pairwise(history))


def _digests(specs: Mapping[str, Spec]) -> dict[str, str]:
    return {key: spec.digest for key, spec in specs.items()}
