"""Starts a real server over the double: `python -m tests.serving.run_double PORT [JSON of options]`."""

from __future__ import annotations

import json
import sys
from functools import partial

from asof.serving.app import Limits
from asof.serving.build import Options
from asof.serving.server import Listen, serve
from tests.serving.double import DictReader


def main(port: int, given: dict[str, object]) -> None:
    reader = partial(DictReader, **given.pop("reader", {}))  # type: ignore[arg-type]
    listen = Listen(port=port, **given.pop("listen", {}))  # type: ignore[arg-type]
    limits = Limits(**given.pop("limits", {}))  # type: ignore[arg-type]
    serve(reader, Options(limits=limits, **given), listen)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
