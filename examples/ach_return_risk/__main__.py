"""`python -m examples.ach_return_risk [--events N] [--seed N] [--out DIR] [--stream S] [--quick]`."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from asof import AsofError
from asof.errors import DefinitionError, MissingExtra

NEEDED = ("sklearn", "matplotlib")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.ach_return_risk",
        description="Simulate a bank, build a training set as known, train models that predict ACH returns, and show"
        " what hindsight would have cost; then serve it, and stream one more day. Leaves a project folder.",
    )
    number = {"type": int, "metavar": "N"}
    parser.add_argument(
        "--events", default=1_000_000, help="rows of transactions, about (default 1,000,000)", **number
    )
    parser.add_argument("--seed", default=0, help="another bank for another number (default 0)", **number)
    parser.add_argument(
        "--out", type=Path, default=Path("demo/ach_return_risk"), metavar="DIR", help="default %(default)s"
    )
    parser.add_argument(
        "--stream", type=float, default=24.0, metavar="S",
        help="seconds in which a day of events streams in (default 24: an hour a second; 0: no stream)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer trees: worse models, sooner")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 fine, 1 the data or a back end failed, 2 a wrong option or definition."""
    options = parse(arguments)
    try:
        for library in NEEDED:
            if find_spec(library) is None:
                raise MissingExtra("the demo", "examples")
        from examples.ach_return_risk.demo import Options, run

        run(Options(**vars(options)))
    except AsofError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, DefinitionError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
