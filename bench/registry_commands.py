"""The commands of `registry` and their turns: what each starts from, what it leaves, and what it took."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import command, registry_projects
from bench.equal import WrongAnswer
from bench.harness import OURS, Measured, Options
from bench.peers import python
from bench.process import ROOT, THREADS, SideFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services import Postgres


class Place:
    """Where registries of ours lie: in each project's SQLite file, or in databases of a PostgreSQL server."""

    def __init__(self, postgres: Postgres | None = None) -> None:
        self.name = "" if postgres is None else "-postgres"
        self.postgres = postgres
        self._urls: dict[Path, str] = {}

    def fresh(self, folder: Path) -> dict[str, str]:
        """A registry that is not there yet, for a project: what the environment has to say of it."""
        registry_projects.forget(folder)
        if self.postgres is None:
            return {}
        if folder in self._urls:
            self.postgres.drop(self._urls[folder])
        self._urls[folder] = self.postgres.create()
        return {"ASOF_REGISTRY": self._urls[folder].replace("+psycopg", "")}

    @property
    def version(self) -> dict[str, str]:
        if self.postgres is None:
            return {}
        with self.postgres.connect() as connection:
            row = connection.execute("show server_version").fetchone()
        return {"postgresql": str(row[0]).split()[0]} if row else {}


@dataclass(frozen=True)
class Job:
    """A command and its right exit code. `fresh` is what makes its registry; without, it takes that of the job before
    it. `content` is what the registry then has to hold. At most `most` runs are timed.
    """

    name: str
    side: str
    line: tuple[str, ...]
    folder: Path
    fresh: Callable[[Path], dict[str, str]] | None = None
    code: int = 0
    content: dict[str, object] | None = None
    most: int = sys.maxsize


class Turns:
    """The runs of all jobs, by name."""

    def __init__(self, jobs: list[Job], options: Options) -> None:
        self.options = options
        self.jobs = {job.name: job for job in jobs}
        self.found: dict[str, Measured] = {}
        self._registries: dict[Path, dict[str, str]] = {}
        for turn in range(options.runs + 1):
            for job in jobs:
                if turn <= job.most:
                    self._run(job, first=not turn)

    def _run(self, job: Job, *, first: bool) -> None:
        if job.fresh:
            self._registries[job.folder] = job.fresh(job.folder)
        env = environment(self.options, ours=job.side == OURS) | self._registries[job.folder]
        ran = checked(job.name, command.run(list(job.line), cwd=job.folder, env=env), job.code)
        measured = self.found.setdefault(job.name, Measured(job.side, ran.seconds))
        if first:
            self._check(job, measured)
            return
        measured.seconds.append(ran.seconds)
        measured.cpu_seconds.append(ran.cpu_seconds)
        measured.memory["peak_bytes"] = max(measured.peak, ran.peak_bytes)

    def _check(self, job: Job, measured: Measured) -> None:
        if job.content is None:
            return
        held = self.read(job.name, 0)
        measured.versions = held["versions"]
        for what, wanted in job.content.items():
            if held[what] != wanted:
                raise WrongAnswer(f"{job.name}: the registry holds other {what} than were defined")

    def read(self, name: str, calls: int) -> dict[str, Any]:
        """What a warm process says of the registry that a job has left."""
        job = self.jobs[name]
        ours = job.side == OURS
        module = "bench.registry_reads" if ours else "bench.registry_feast"
        line = [sys.executable if ours else python(), "-m", module, str(job.folder), str(calls)]
        env = environment(self.options, ours=ours) | self._registries[job.folder]
        return json.loads(checked(f"{name}: reads", command.run(line, cwd=ROOT, env=env), 0).out)


def environment(options: Options, *, ours: bool) -> dict[str, str]:
    """This process's, with the number of threads; a peer gets no PYTHONPATH of ours and reports its use to nobody."""
    env = dict(os.environ) | dict.fromkeys(THREADS, str(options.threads))
    if not ours:
        env.pop("PYTHONPATH", None)
        env["FEAST_USAGE"] = "False"
    return env


def checked(name: str, ran: command.Ran, code: int) -> command.Ran:
    if ran.code != code:
        raise SideFailed(
            f"{name}: exit code {ran.code} instead of {code}\n{ran.out[-1000:]}{ran.err[-2000:]}"
        )
    return ran
