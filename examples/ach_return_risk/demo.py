"""The steps of the demo, in order; every step is timed and shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import asof
from asof.errors import DefinitionError
from asof.flows.result import TrainingSet
from asof.testing.bank import Bank
from examples.ach_return_risk import picture, tables
from examples.ach_return_risk.bank import DAYS, SPINE, copy_template, simulate_bank, write_bank
from examples.ach_return_risk.live import clear, stream
from examples.ach_return_risk.online import serve
from examples.ach_return_risk.steps import Steps
from examples.ach_return_risk.story import tell
from examples.ach_return_risk.train import HINDSIGHT, KNOWN, Result, Split, compare, split_rows

FILES = {KNOWN: "known.parquet", HINDSIGHT: "hindsight.parquet"}


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    events: int
    seed: int
    out: Path
    stream: float = 24.0
    quick: bool = False
    quiet: bool = False


def run(options: Options) -> None:
    """Simulate, build, train, draw, serve, stream, and say what came of it.

    Raises:
        AsofError: something does not fit, with a hint at what.
    """
    steps = Steps(quiet=options.quiet)
    cutoff, after = make_bank(options, steps)
    project = open_project(options.out)
    made = {kind: build(project, options.out, cutoff, kind, steps) for kind in (KNOWN, HINDSIGHT)}
    print(f"\n{tables.training_sets(made[KNOWN])}")

    split = split_rows(made[KNOWN].table, cutoff)
    results = train(made, split, options, steps)
    says = tables.meaning(results, int(split.returned[split.test].sum()))
    print(f"\n{split}\n\n{tables.models(results)}\n\n{says}")

    draw(project, made, split, results, options, steps)
    compared = serve(project, pq.read_table(options.out / SPINE), cutoff, steps)
    print(f"\n{tables.serving(compared)}")
    if options.stream > 0:
        print(f"\n{tables.streaming(stream(options.out, after, cutoff, options.stream, steps))}")
    write_metrics(options.out, split, results, steps)
    print(f"\n{steps}\n\n{tables.places(options.out, cutoff)}")


def make_bank(options: Options, steps: Steps) -> tuple[datetime, dict[str, pa.Table]]:
    """Fill the project folder; the instant at which the bank's tables were extracted, and the rows of the day after."""
    for name in copy_template(options.out):
        print(f"{options.out / name} was changed and is kept; delete it to get the template back")
    with steps.step("simulate the bank") as step:
        step.show("simulate", "bank", 0, 1)
        bank, after = simulate_bank(options.events, options.seed)
        step.show("simulate", "bank", 1, 1)
        step.rows = _rows(bank)
    with steps.step("write its tables as Parquet") as step:
        step.show("write", "bank", 0, 1)
        write_bank(bank, options.out)
        clear(options.out)
        step.show("write", "bank", 1, 1)
        step.rows = _rows(bank)
    print(f"\n{tables.bank(bank, DAYS)}")
    return bank.extracted_at, after


def _rows(bank: Bank) -> int:
    return sum(table.num_rows for table in bank.tables.values())


def open_project(folder: Path) -> asof.Project:
    """The project in the folder, its definitions checked against its data.

    Raises:
        DefinitionError: a definition does not fit the data.
    """
    project = asof.open(folder)
    for finding in project.check():
        raise DefinitionError(f"{finding.kind} {finding.name}: {finding.error}")
    return project


def build(project: asof.Project, folder: Path, cutoff: datetime, kind: str, steps: Steps) -> TrainingSet:
    """The labelled training set of one kind, built and written.

    The cut-off is when the bank's tables were extracted: nobody knows what came back after it, so a debit of the last
    60 days that has not come back yet has no label.
    """
    with steps.step(f"training set, {kind}") as step:
        made = project.training_set(
            "ach_risk",
            spine=folder / SPINE,
            labels=["returned"],
            row_id="payment_id",
            as_known=kind == KNOWN,
            cutoff=cutoff,
            progress=step.show,
        )
        made.write(folder / FILES[kind])
        step.rows = sum(source.rows for source in made.report.sources)
    return made


def train(made: dict[str, TrainingSet], split: Split, options: Options, steps: Steps) -> list[Result]:
    """Every model in every scenario."""
    with steps.step("train and judge 2 models, 2 ways each") as step:
        inputs = {kind: training_set.table for kind, training_set in made.items()}
        results = compare(inputs, split, step.show, quick=options.quick, seed=options.seed)
        step.rows = 4 * int(split.train.sum())
    return results


def draw(
    project: asof.Project,
    made: dict[str, TrainingSet],
    split: Split,
    results: list[Result],
    options: Options,
    steps: Steps,
) -> None:
    """The picture, as PNG."""
    with steps.step("draw") as step:
        step.show("draw", "picture.png", 0, 1)
        transactions = str(options.out / "data" / "transactions.parquet")
        story = tell(project, made[KNOWN].table, made[HINDSIGHT].table, transactions)
        picture.draw(results, split.returned[split.test], story, options.out / "picture.png")
        step.show("draw", "picture.png", 1, 1)
        step.rows = 2 * story.at.size


def write_metrics(folder: Path, split: Split, results: list[Result], steps: Steps) -> None:
    """The numbers of the tables as JSON."""
    scores = [{k: v for k, v in asdict(result).items() if k != "scores"} for result in results]
    rows = {
        "train": int(split.train.sum()),
        "train_returned": int(split.returned[split.train].sum()),
        "test": int(split.test.sum()),
        "test_returned": int(split.returned[split.test].sum()),
    }
    took = [{"step": s.name, "seconds": round(s.seconds, 3), "rows": s.rows} for s in steps.taken]
    text = json.dumps({"rows": rows, "results": scores, "steps": took}, indent=2)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
