"""A PostgreSQL server of the bench's own, with the settings that a server has by default: what it confirms is on disk.

It is found and owned as the tests do it; theirs is faster, since nothing has to outlive a test.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import PATIENCE_S, USER, Postgres, answers, find_binaries, free_port, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def server() -> Iterator[Postgres | None]:
    """The server while it runs; None where none is installed."""
    binaries = find_binaries()
    if binaries is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="asof-bench-pg-"))
    as_owner = owner_of(folder)
    data = str(folder / "data")
    made = Postgres(free_port())
    options = ["listen_addresses=127.0.0.1", f"port={made.port}", f"unix_socket_directories={folder}"]
    options += ["max_connections=200", "timezone=UTC"]
    start = [binaries / "postgres", "-D", data, *(part for each in options for part in ("-c", each))]
    try:
        initdb = [binaries / "initdb", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "-D", data]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **as_owner)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(start, stdout=log, stderr=log, **as_owner)
        if not answers(made, process):
            raise FileNotFoundError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
        try:
            yield made
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
