"""From training to serving: fill the online store, start the server, and compare what it says with a training set.

The bank is simulated and ends at an instant in the past, so everything is asked as of that instant: the store is filled
up to it, and every read says `at`. A real project leaves both away.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

import asof
from asof.errors import BackendError, MissingExtra
from examples.ach_return_risk.steps import Steps

SERVICE = "ach_risk"
ENVIRONMENT = "demo"
DEBITS = 200
_WAIT_S = 60.0


@dataclass(frozen=True)
class Compared:
    """How many of the values that one way gave are the values of the training set; `wrong` names the others."""

    way: str
    equal: int
    values: int
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        wrong = f"; not equal: {', '.join(self.wrong)}" if self.wrong else ""
        return f"{self.way:<22} equal: {self.equal:,} of {self.values:,} values{wrong}"


def serve(project: asof.Project, spine: pa.Table, now: datetime, steps: Steps) -> list[Compared]:
    """Fill the store, read it in this process and over HTTP, and compare both with a training set of that instant."""
    debits = debits_at(spine, now)
    with steps.step("backfill the online store") as step:
        done = project.materialize(until=now, whole=True, progress=step.show)
        step.rows = done.rows
    with steps.step("the same debits as a training set") as step:
        expected = project.training_set(SERVICE, spine=debits, progress=step.show).table
        step.rows = debits.num_rows
    compared: list[Compared] = []
    with steps.step("read them from the store") as step:
        reader = project.online()
        try:
            entities, request = question(debits, reader.describe(SERVICE))
            answer = reader.read(SERVICE, entities, request, at=now).to_arrow()
        finally:
            reader.close()
        step.rows = debits.num_rows
    compared.append(compare("from the store", answer, expected))
    if find_spec("granian") is None:
        print(f"\nno server: {MissingExtra('the server', 'serve').hint}")
        return compared
    with steps.step("start the server, read, stop it") as step:
        step.show("serve", SERVICE, 0, 1)
        project.apply(project.plan(ENVIRONMENT, create=True, estimates=False), force=True, message="the demo")
        with server(project.root) as client:
            answer = client.features_arrow(SERVICE, entities, request, at=now)
        step.show("serve", SERVICE, 1, 1)
        step.rows = debits.num_rows
    compared.append(compare("from the server", answer, expected))
    return compared


def debits_at(spine: pa.Table, now: datetime) -> pa.Table:
    """New debits at one instant: like the last ones of different accounts, under ids that nobody has seen."""
    last = {account: row for row, account in enumerate(spine["account_id"].to_pylist())}
    rows = spine.take(pa.array(sorted(last.values())[-DEBITS:]))
    ids = pa.array([f"new-{number}" for number in range(rows.num_rows)])
    for name in ("payment_id", "transaction_id"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, ids)
    times = pa.array([now] * rows.num_rows, rows.schema.field("occurred_at").type)
    return rows.set_column(rows.schema.get_field_index("occurred_at"), "occurred_at", times)


def question(debits: pa.Table, service: Any) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The keys and the request columns that the service asks for, from the debits."""
    keys = {name: debits[name].to_pylist() for name, _ in service.keys}
    return keys, {
        name: debits[name].to_pylist() for name, _ in service.request if name in debits.column_names
    }


def compare(way: str, answer: pa.Table, expected: pa.Table) -> Compared:
    """Value by value: equal bits, or both null."""
    equal, wrong = 0, []
    names = [name for name in answer.column_names if name in expected.column_names]
    for name in names:
        pairs = zip(answer[name].to_pylist(), expected[name].to_pylist(), strict=True)
        same = sum(repr(one) == repr(other) for one, other in pairs)
        equal += same
        if same < expected.num_rows:
            wrong.append(name)
    return Compared(way, equal, len(names) * expected.num_rows, tuple(wrong))


@contextmanager
def server(folder: Path) -> Generator[asof.Client]:
    """`asof serve` on a free port of this machine, and a client of it; it is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "asof",
        "serve",
        "--env",
        ENVIRONMENT,
        "--port",
        str(port),
        "--project",
        str(folder),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603 - our own
    try:
        with asof.Client(f"http://127.0.0.1:{port}", timeout_s=_WAIT_S) as client:
            _wait(process, client)
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=_WAIT_S)


def _wait(process: subprocess.Popen[bytes], client: asof.Client) -> None:
    """Until the server answers.

    Raises:
        BackendError: it ended, or takes too long.
    """
    until = time.monotonic() + _WAIT_S
    while process.poll() is None and time.monotonic() < until:
        try:
            client.services()
        except BackendError:
            time.sleep(0.1)
        else:
            return
    process.kill()
    said = process.communicate()[0].decode(errors="replace").strip().splitlines()
    raise BackendError("the server did not start", hint=said[-1] if said else None)
