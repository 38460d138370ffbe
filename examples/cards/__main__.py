"""`python -m examples.cards [--out DIR]`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import asof
from asof.cli.console import ProgressBars
from asof.errors import AsofError, DataError, DefinitionError, MissingExtra
from asof.flows.result import TrainingSet
from examples.cards.definitions import SPINE, expense_category

FOLDER = Path(__file__).parent


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.cards",
        description="Guess the expense category of a council's card transactions from what was known on the day.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="keep training_set.parquet and results.json there"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    return parser.parse_args(arguments)


def build(folder: Path, spine: str, *, quiet: bool = False) -> TrainingSet:
    """The spine's transactions with their features as known on their days, from the project in a folder."""
    with ProgressBars(quiet=quiet) as bars:
        return asof.open(folder).training_set(
            expense_category.name, spine=spine, time="trans_date", row_id="row_id", progress=bars.step
        )


def run(options: argparse.Namespace) -> None:
    """Build the features, compare the models, print the table, keep both if asked to.

    Raises:
        MissingExtra: scikit-learn is not installed. DataError: the folder for the results cannot be made.
    """
    if find_spec("sklearn") is None:
        raise MissingExtra("this example", "examples")
    from examples.cards.models import compare, format_table

    if options.out is not None:
        make_folder(options.out)
    made = build(FOLDER, SPINE, quiet=options.quiet)
    tell = (
        (lambda _: None) if options.quiet else (lambda name: print(f"training {name} ...", file=sys.stderr))
    )
    results = compare(made.table, tell)
    print(format_table(results))
    if options.out is not None:
        made.write(options.out / "training_set.parquet")
        text = json.dumps([asdict(result) for result in results], indent=2)
        (options.out / "results.json").write_text(text + "\n", encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make the folder; raises DataError where there is something else in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DataError(f"folder {str(folder)!r} cannot be made: {exc.strerror}") from exc


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 fine, 1 the data or a back end failed, 2 a wrong option or definition."""
    options = parse(arguments)
    try:
        run(options)
    except AsofError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, DefinitionError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
