"""A real server over the double that takes events for a project: `python -m tests.serving.run_events PORT FOLDER`."""

from __future__ import annotations

import sys

import asof
from asof.flows.push import Pusher
from asof.serving.build import Options
from asof.serving.server import Listen, serve
from tests.serving.double import DictReader


def open_pusher() -> Pusher:
    return Pusher(lambda: asof.open(sys.argv[2]))


if __name__ == "__main__":
    serve(DictReader, Options(), Listen(port=int(sys.argv[1])), open_pusher)
