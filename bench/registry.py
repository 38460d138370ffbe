"""Plan and apply of 1,000 views with 10,000 features, reads of the registry, and 50 appliers at once; against Feast.

Commands are timed as a user runs them: each a process from cold start, and where it applies, on a registry that is not
there yet. They all take turns. Feast applies without its checks of sources and views, once with the online store of
its local template and once with none; the fastest counts. In the first turn, which is not timed, what a side's
registry then holds is compared with what was defined. Where there is no PostgreSQL server, its rows are left out.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench import command, registry_projects
from bench.data import cache
from bench.harness import OURS, Measured, Options, Row, versus
from bench.peers import python
from bench.postgres import server
from bench.process import ROOT
from bench.registry_commands import Job, Place, Turns, checked, environment
from bench.registry_projects import Shape

ONE, NARROW, WIDE = Shape(1, 1), Shape(1_000, 1), Shape(1_000, 10)
APPLY_S, APPLY_GB, UNCHANGED_S, READ_US, HANG_S = 3.0, 0.3, 1.0, 1_000.0, 30.0
CHANGES = 3  # the exit code of a plan with changes
CALLS, APPLIERS = 10_000, 50
FEW, FEWER = 3, 2  # runs of what takes long
FEAST, STORED = "Feast", "Feast with a store"
_UNCHECKED = ("--skip-source-validation", "--skip-feature-view-validation", "--no-progress")
_FEAST = "from feast.cli.cli import cli; cli()"  # what its own script does
_APPLY = (
    "import sys; from bench.registry_appliers import main; main(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
)
_SCENARIOS = {"one": "to one environment, planning anew when refused", "own": "to environments of their own"}


def run(options: Options) -> list[Row]:
    wide = Shape(100, 10) if options.quick else WIDE
    narrow = Shape(100, 1) if options.quick else NARROW
    with ExitStack() as stack:
        places: list[Place] = []
        if options.ours:
            postgres = stack.enter_context(server())
            places = [Place(), *([Place(postgres)] if postgres else [])]
            if postgres is None:
                print("bench: registry: PostgreSQL is not installed, its rows are left out", flush=True)
        jobs = [job for place in places for job in _our_jobs(place, wide, narrow)]
        turns = Turns([*jobs, *_feast_jobs(wide, narrow)], options)
        rows = [row for place in places for row in _bars(turns, place, wide)]
        rows += [_against_feast(turns, shape) for shape in (wide, narrow, ONE)]
        rows += _reads(turns, places, wide)
        for place in places:
            rows += [_appliers(options, place, scenario) for scenario in ("one", "own")]
    return rows


def _our_jobs(place: Place, wide: Shape, narrow: Shape) -> list[Job]:
    asof = str(Path(sys.executable).with_name("asof"))
    apply, plan = (asof, "apply", "--yes", "-q"), (asof, "plan", "-q")
    jobs: list[Job] = []
    for shape in (ONE, wide) if place.postgres else (ONE, wide, narrow):
        folder = registry_projects.ours(shape, place.name)
        name, holds = f"{shape.name}{place.name}", registry_projects.content(shape, shape.feature)
        jobs += [
            Job(f"plan-{name}", OURS, plan, folder, place.fresh, CHANGES),
            Job(f"apply-{name}", OURS, apply, folder, place.fresh, content=holds),
            Job(f"unchanged-{name}", OURS, plan, folder),
        ]
    return jobs if place.postgres else [*jobs, Job("help", OURS, (asof, "--help"), folder)]


def _feast_jobs(wide: Shape, narrow: Shape) -> list[Job]:
    jobs: list[Job] = []
    for side, stored, shapes in ((FEAST, False, (ONE, wide, narrow)), (STORED, True, (wide, narrow))):
        for shape in shapes:
            folder = registry_projects.feast(shape, stored=stored)
            holds = registry_projects.content(shape, shape.column)
            line = (python(), "-c", _FEAST, "apply", *_UNCHECKED)
            jobs.append(Job(f"{side}-{shape.name}", side, line, folder, _forgotten, content=holds, most=FEW))
    return jobs


def _forgotten(folder: Path) -> dict[str, str]:
    registry_projects.forget(folder)
    return {}


def _spread(measured: Measured) -> str:
    low, high, cpu = min(measured.seconds), max(measured.seconds), median(measured.cpu_seconds)
    return (
        f"{measured.side}: {measured.median:.2f} s ({low:.2f} to {high:.2f}), of processors {cpu:.2f} s,"
        f" peak {measured.peak / 1e6:.0f} MB"
    )


def _bars(turns: Turns, place: Place, wide: Shape) -> list[Row]:
    """What commands of ours may take at most."""
    tail = place.name
    apply, plan, unchanged, start = (
        turns.found[f"{job}-{shape.name}{tail}"]
        for job, shape in (("apply", wide), ("plan", wide), ("unchanged", wide), ("unchanged", ONE))
    )
    apply.versions |= place.version
    most_s, words = UNCHANGED_S + start.median, f"{UNCHANGED_S:g} s + start"
    whole = {OURS: apply}
    rows = [
        _bar(f"apply{tail}", apply.median, APPLY_S, f"limit {APPLY_S:g} s", "s", whole),
        _bar(f"apply-memory{tail}", apply.peak / 1e9, APPLY_GB, f"limit {APPLY_GB * 1e3:g} MB", "GB", whole),
        _bar(f"unchanged{tail}", unchanged.median, most_s, words, "s", {OURS: unchanged}),
        Row("registry", f"registry-plan{tail}", plan.median, None, "", sides={OURS: plan}),
    ]
    rows[0].notes = [f"{wide.words}, plan and apply in one command: {_spread(apply)}"]
    rows[2].notes = [f"plan without a change: {_spread(unchanged)}", f"start, one view: {_spread(start)}"]
    rows[3].notes = [f"plan of everything, nothing applied: {_spread(plan)}"]
    if not place.postgres:
        rows[2].notes.append(f"asof --help: {_spread(turns.found['help'])}")
    return rows


def _bar(name: str, value: float, limit: float, words: str, unit: str, sides: dict[str, Measured]) -> Row:
    return Row("registry", f"registry-{name}", value, limit, words, unit, "<= 1.0", sides)


def _against_feast(turns: Turns, shape: Shape) -> Row:
    jobs = {OURS: f"apply-{shape.name}", FEAST: f"{FEAST}-{shape.name}", STORED: f"{STORED}-{shape.name}"}
    found = {side: turns.found[job] for side, job in jobs.items() if job in turns.found}
    others = [side for side in (FEAST, STORED) if side in found]
    row = versus("registry", f"registry-feast-{shape.name}", found, others, wanted=turns.options.ours)
    row.notes = [shape.words, *(_spread(measured) for measured in found.values())]
    return row


def _reads(turns: Turns, places: list[Place], wide: Shape) -> list[Row]:
    """One service, read by a warm process: from memory (`held`), with a look whether the registry has moved
    (`checked`, which the bar is for), and for information with all of it read anew (`whole`).
    """
    rows: list[Row] = []
    mine: dict[str, dict[str, float]] = {}
    for place in places:
        found = _repeated(turns, f"apply-{wide.name}{place.name}")
        name, words = f"read{place.name}", f"limit {READ_US / 1e3:g} ms"
        rows.append(_bar(name, found["checked"]["median_us"], READ_US, words, "us", {}))
        rows[-1].notes = _lines(OURS, found)
        mine = mine or found
    feast = _repeated(turns, f"{FEAST}-{wide.name}")
    for kind, found in feast.items():
        our_us = mine[kind]["median_us"] if mine else None
        rows.append(Row("registry", f"registry-read-{kind}", our_us, found["median_us"], FEAST, "us"))
    rows[-1].notes = _lines(FEAST, feast)
    return rows


def _repeated(turns: Turns, name: str) -> dict[str, dict[str, float]]:
    """Medians over a few processes."""
    found = [turns.read(name, CALLS)["reads"] for _ in range(min(FEW, turns.options.runs))]
    return {
        kind: {fact: median(each[kind][fact] for each in found) for fact in facts}
        for kind, facts in found[0].items()
    }


def _lines(side: str, reads: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{side}, {kind}: median {found['median_us']:,.1f} us, 99 % in {found['p99_us']:,.1f} us"
        for kind, found in reads.items()
    ]


def _appliers(options: Options, place: Place, scenario: str) -> Row:
    """Many at once: all land whole, none hangs. A history that is not straight ends the bench."""
    folder = cache() / "registry" / "appliers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "asof.toml").write_text('name = "bench"\n')
    count = 10 if options.quick else APPLIERS
    found: list[dict[str, Any]] = []
    for _ in range(min(FEWER, options.runs)):
        env = environment(options, ours=True) | place.fresh(folder)
        line = [sys.executable, "-c", _APPLY, str(folder), scenario, str(count)]
        found.append(json.loads(checked(f"appliers {scenario}", command.run(line, cwd=ROOT, env=env), 0).out))
    longest = max(each["longest_s"] for each in found)
    row = _bar(f"appliers-{scenario}{place.name}", longest, HANG_S, f"limit {HANG_S:g} s", "s", {})
    row.failed = any(each["hanging"] or each["landed"] != count for each in found)
    row.notes = [
        f"the longest of the applies of {count} processes {_SCENARIOS[scenario]}",
        *map(_told, found),
    ]
    return row


def _told(found: dict[str, Any]) -> str:
    return (
        f"{found['landed']} landed whole, the history straight; {found['refused']} times refused,"
        f" {found['locked_out']} locked out, {found['hanging']} hang; {found['seconds']:.1f} s in all, longest"
        f" {found['longest_s']:.1f} s; times step back {found['clock_steps_back']} times"
    )
