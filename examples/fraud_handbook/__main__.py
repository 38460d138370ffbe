"""`python -m examples.fraud_handbook --data DIR --out FILE.parquet [--models]`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

from asof import AsofError, Project
from asof.cli.console import ProgressBars
from asof.errors import DefinitionError, MissingExtra, SourceNotFound
from asof.flows.result import TrainingSet, check_target
from examples.fraud_handbook.definitions import FILE, fraud_handbook, service_of

ORIGIN = "github.com/Fraud-Detection-Handbook/simulated-data-raw; README.md of this example converts it"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fraud_handbook",
        description="The 14 features of the Fraud Detection Handbook for every transaction, and models on them.",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help=f"the folder that holds {FILE}"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where to write TRANSACTION_ID and the features"
    )
    parser.add_argument(
        "--models", action="store_true", help="train three models and print how good they are"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    options = parser.parse_args(arguments)
    if options.out is None and not options.models:
        parser.error("nothing to do: name --out FILE.parquet, or --models, or both")
    return options


def build(folder: Path, *, quiet: bool = False) -> TrainingSet:
    """Every transaction in the folder's file with its features, as known at its time.

    Raises:
        SourceNotFound: the folder has no such file. DataError: the file is not the handbook's.
    """
    file = (folder / FILE).resolve()
    if not file.is_file():
        raise SourceNotFound(f"no {FILE} in {folder}", hint=f"the data is at {ORIGIN}", path=str(folder))
    service = service_of(file)
    with ProgressBars(quiet=quiet) as bars:
        return Project([service]).training_set(
            service, spine=str(file), time="TX_DATETIME", row_id="TRANSACTION_ID", progress=bars.step
        )


def only_features(made: TrainingSet, names: tuple[str, ...]) -> TrainingSet:
    """The same training set with TRANSACTION_ID and these columns, and a manifest that says so."""
    table = made.table.select(["TRANSACTION_ID", *names])
    columns = {field.name: str(field.type) for field in table.schema}
    return TrainingSet(table, made.report, replace(made.manifest, columns=columns))


def print_models(table: pa.Table, names: tuple[str, ...], *, quiet: bool) -> None:
    """Train the models and print what they learned from and their table."""
    from examples.fraud_handbook.models import compare, format_table, split_rows

    split = split_rows(table, ["TX_AMOUNT", *names])
    print(split)
    tell = (lambda _: None) if quiet else (lambda name: print(f"training {name} ...", file=sys.stderr))
    print(format_table(compare(split, tell)))


def run(options: argparse.Namespace) -> None:
    """Build the features, write them, train the models: whatever the options ask for.

    Raises:
        MissingExtra: models are asked for and scikit-learn is not installed. AsofError: see `build`.
    """
    if options.models and find_spec("sklearn") is None:
        raise MissingExtra("--models", "examples")
    if options.out is not None:
        check_target(options.out)
    made = build(options.data, quiet=options.quiet)
    names = fraud_handbook.names
    if options.out is not None:
        written = only_features(made, names).write(options.out)
        if not options.quiet:
            print(made.report, file=sys.stderr)
        print(written)
    if options.models:
        print_models(made.table, names, quiet=options.quiet)


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
