"""Backfill: 5 M events become the records of 50 k accounts, in LMDB and in Redis; against reading and sorting them.

One view, whose windows of 180 days keep all rows, over three columns. Floor: DuckDB reads and sorts the same columns.
For information: Feast materializes the newest row of each account from the same file, which is less: it keeps one row
of each, and computes nothing from it. Each of our runs begins with an empty store, and ends when all is on disk (LMDB)
or confirmed by the server (Redis, in memory). What came into the records is checked: all rows, and the features of
accounts against the training set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import data, redis_server
from bench.backfill_sides import COLUMNS
from bench.equal import WrongAnswer, compare
from bench.harness import OURS, Measured, Options, Row
from bench.online import CHECKED, place
from bench.peers import python
from bench.process import Side, Worker
from bench.turns import workers
from bench.windows import our_places

if TYPE_CHECKING:
    from pathlib import Path

    from bench.equal import Kinds

FLOOR, FEAST = "floor: DuckDB reads and sorts", "Feast materialize"
BAR = "<= 2.5"
KINDS: Kinds = {
    "account_id": "exact",
    "count_180d": "exact",
    "amount_mean_180d": "float",
    "amount_max_180d": "exact",
    "amount_exact_sum_180d": "exact",
    "ingested_at_max_180d": "exact",
}


def run(options: Options) -> list[Row]:
    size, asked = (1_000_000, 20_000) if options.quick else (5_000_000, 100_000)
    log = data.events(size, (asked, 10 * asked)).log
    rows: list[Row] = []
    with place() as folder, redis_server.server() as server:
        stores = {"lmdb": f"lmdb:///{folder / 'lmdb'}"}
        if server is None:
            print("bench: backfill: Redis is not installed, its rows are left out", flush=True)
        else:
            stores["redis"] = f"redis://127.0.0.1:{server.port}"
        for store, url in stores.items() if options.ours else ():
            rows.append(_floor(options, log, store, url, folder, size))
        mine = {store: row.ours for store, row in zip(stores, rows, strict=False)}
        port = 0 if server is None else server.port
        rows += [_feast(options, log, store, folder, port, mine.get(store)) for store in stores]
    return rows


def _floor(options: Options, log: str, store: str, url: str, folder: Path, size: int) -> Row:
    sides = [
        Side(OURS, "bench.backfill_sides:Ours", {"log": log, "url": url}, env=our_places()),
        Side(FLOOR, "bench.backfill_sides:Floor", {"log": log, "threads": options.threads}, python()),
    ]
    with workers(sides, options.threads) as found:
        measured, told = turns(found, options.runs)
        for method in ("save", "training_set"):
            accounts = list(range(0, data.ACCOUNTS, data.ACCOUNTS // CHECKED))
            found[OURS].call(method, path=str(folder / method), accounts=accounts)
        compare([("online", folder / "save"), ("training set", folder / "training_set")], KINDS)
    if told["rows"] != size:
        raise WrongAnswer(f"{told['rows']:,} of {size:,} rows are in the records")
    ours, floor = measured[OURS], measured[FLOOR]
    row = Row("backfill", f"backfill-{store}", ours.median, floor.median, FLOOR, bar=BAR, sides=measured)
    row.notes = [
        _counted(told, size),
        *map(spread, measured.values()),
    ]
    if store == "redis":
        ours.versions |= redis_server.version()
    return row


def _counted(told: dict[str, Any], size: int) -> str:
    return (
        f"{size:,} events -> {told['records']:,} records of {told['bytes'] / told['records']:,.0f} bytes on average,"
        f" {told['bytes'] / size:.1f} bytes for each event; peak of ours {told['peak_bytes'] / 1e9:.2f} GB"
    )


def turns(found: dict[str, Worker], runs: int) -> tuple[dict[str, Measured], dict[str, Any]]:
    """Runs in turn, after one of each that is not counted; and what ours told of its last."""
    measured: dict[str, Measured] = {}
    told: dict[str, Any] = {}
    for turn in range(runs + 1):
        for name, worker in found.items():
            answer = worker.call("run")
            if name == OURS:
                told = answer
            if not turn:
                measured[name] = Measured(name, answer["seconds"], versions=dict(worker.ask("versions")))
                continue
            measured[name].seconds.append(answer["seconds"])
            measured[name].cpu_seconds.append(answer["cpu_seconds"])
    return measured, told


def spread(measured: Measured) -> str:
    """One side's runs in a line."""
    return f"{measured.side}: {measured.median:.2f} s ({min(measured.seconds):.2f} to {max(measured.seconds):.2f})"


def _feast(options: Options, log: str, store: str, folder: Path, port: int, mine: float | None) -> Row:
    """One run, since it takes long: the newest row of each account, of the same columns."""
    from bench.online_views import END_US

    arguments = {
        "folder": str(folder / f"feast-{store}"),
        "store": store.replace("lmdb", "sqlite"),
        "port": port,
    }
    with Worker(Side(FEAST, "bench.online_feast:Feast", arguments, python()), options.threads) as worker:
        plain = worker.call("plain", log=log, columns=[*COLUMNS], path=str(folder / "plain.parquet"))
        views = {"newest": list(COLUMNS)}
        filled = worker.call(
            "fill", values=plain["path"], views=views, until_us=END_US, time_column="occurred_at"
        )
        versions = dict(worker.ask("versions"))
    seconds = filled["seconds"]
    row = Row("backfill", f"backfill-feast-{filled['store']}", mine, seconds, f"{FEAST}, {filled['store']}")
    row.sides = {FEAST: Measured(FEAST, seconds, [seconds], [seconds], versions=versions)}
    row.notes = [
        f"Feast, one run, the same file: the newest row of each account, three columns: {seconds:.1f} s"
    ]
    return row
