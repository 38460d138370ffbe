"""Real processes that write to a registry: they start together, or die at a statement."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from sqlalchemy import Engine, event

from asof.define.spec import Spec, digest_of
from asof.errors import AsofError, RegistryMoved, UnknownEnvironment
from asof.registry.state import Change
from asof.registry.store import Registry, open_registry

PATIENCE_S = 120  # a shared machine may stall
WAIT_S = 60.0


def start_server() -> ForkServerContext:
    """Processes are forked from one that has loaded the registry, and opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asof.registry.store", "alembic.command", "psycopg", __name__])
    return context


# ------------------------------------------------------------------------------------------------------------ appliers


@dataclass(frozen=True)
class Outcome:
    """What an applier has seen: the revisions that it made, how often it was refused, and what else went wrong."""

    number: int
    made: int | None
    refused: int
    wrong: str = ""


def by(name: str, number: int) -> Spec:
    """An entity that an applier puts; the body is small and right."""
    text = f'{{"description":"{number}","format":1,"keys":[{{"name":"id","type":"string"}}]}}'
    return Spec("entity", name, digest_of("entity", name, "", str(number)), text)


def change_of(registry: Registry, number: int) -> Change:
    """The change that an applier plans on what it sees: two objects that all want, one of its own, and out with
    that of the one before.
    """
    puts = (by("shared_a", number), by("shared_b", number), by(f"own_{number}", number))
    try:
        state = registry.state("prod")
    except UnknownEnvironment:
        return Change("prod", "apply", None, puts, who=str(number))
    others = tuple(key for key in state.specs if key.startswith("entity:own_"))
    return Change("prod", "apply", state.revision, puts, others, who=str(number))


def apply_once_all_are_there(url: str, number: int, retries: bool, start: Any, outcomes: Any) -> None:
    """Plans, waits for the others, and applies; when it is refused it plans again, or leaves it."""
    made, refused, wrong = None, 0, ""
    try:
        registry = open_registry(url, wait_s=WAIT_S)
        change = change_of(registry, number)
        start.wait(PATIENCE_S)
        while made is None:
            try:
                made = registry.commit(change)
            except RegistryMoved:
                refused += 1
                if not retries:
                    break
                change = change_of(registry, number)
        registry.close()
    except AsofError as error:
        wrong = repr(error)
    outcomes.put(Outcome(number, made, refused, wrong))


# -------------------------------------------------------------------------------------------------------------- deaths

Work = Callable[[str, Any], None]


def commit_change(url: str, change: Change) -> None:
    registry = open_registry(url, wait_s=WAIT_S)
    _arm()
    registry.commit(change)


def remove(url: str, environment: str) -> None:
    registry = open_registry(url, wait_s=WAIT_S)
    _arm()
    registry.remove(environment)


def create(url: str, _nothing: object) -> None:
    _arm()
    open_registry(url, wait_s=WAIT_S)


_armed: list[bool] = []


def _arm() -> None:
    _armed.append(True)


def work_and_die(work: Work, url: str, argument: object, at: int | str, small_cache: bool = False) -> None:
    """Does the work, and is killed before its n-th statement, `before` or `after` it is made permanent; else it
    ends well.
    """
    count = 0

    def before_statement(*_facts: object) -> None:
        nonlocal count
        count += bool(_armed)
        if _armed and count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_commit(connection: Any) -> None:
        if _armed and at == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        commit = connection.dialect.do_commit

        def and_then(driver: object) -> None:
            commit(driver)
            if _armed and at == "after":
                os.kill(os.getpid(), signal.SIGKILL)

        connection.dialect.do_commit = and_then

    event.listen(Engine, "before_cursor_execute", before_statement)
    event.listen(Engine, "commit", before_commit)
    if small_cache:
        event.listen(Engine, "connect", _write_early)
    work(url, argument)
    os._exit(0)


def _write_early(connection: sqlite3.Connection, _record: object) -> None:
    """Pages go into the file long before they are made permanent."""
    connection.execute("pragma cache_size = 2")


def ended(process: ForkServerProcess) -> int:
    """How a process has ended; one that hangs is killed, and is told as such."""
    process.join(PATIENCE_S)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError("a process hangs")
    code = process.exitcode
    process.close()
    assert code is not None
    return code
