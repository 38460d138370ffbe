"""The command line: one file per noun; what a command needs is imported when it is called.

Exit codes: 0 fine, 1 asof's or a back end's failure or bad data, 2 a usage, configuration or definition
error. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The `asof` command."""
    from asof.cli.app import app, run_app

    sys.exit(run_app(app, sys.argv[1:]))
