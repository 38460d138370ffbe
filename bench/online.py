"""Reads of 50 features in 5 views for 1, 10 and 100 accounts: against raw reads of the same records, and Feast.

LMDB: against a plain loop of `txn.get` over the same keys, in a second process that has the same environment open.
Redis: against one MGET of the same keys, by the same client library. Feast: `get_online_features` of 50 columns in 5
feature views that hold what our training set says, in SQLite and in Redis. All sides are asked about the same accounts
and take turns. Before that our answers are compared with the training set at the same instant, the raw sides' bytes
with those that our store gives, and Feast's values with ours.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import data, redis_server
from bench.equal import WrongAnswer, compare
from bench.harness import OURS, Options, Row
from bench.online_views import END_US, columns
from bench.peers import python
from bench.process import Side, Worker
from bench.turns import Timed, against, limit, take_turns, workers
from bench.windows import our_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.equal import Kinds

LMDB, REDIS = "raw LMDB gets", "raw Redis MGET"
SIZES = {1: 10_000, 10: 5_000, 100: 1_000}  # accounts in a read: reads in a turn
LMDB_BARS, P99_US = {1: "<= 5", 10: "<= 3.5", 100: "<= 3"}, {1: 200.0, 100: 3_000.0}
REDIS_BAR = "<= 1.6"
FEAST_BARS, FEAST_CALLS = {1: ">= 50", 100: ">= 80"}, {1: 200, 10: 100, 100: 50}
CHECKED = 5_000  # accounts whose answers are compared


def run(options: Options) -> list[Row]:
    size, asked = (1_000_000, 20_000) if options.quick else (5_000_000, 100_000)
    log = data.events(size, (asked, 10 * asked)).log
    with place() as folder:
        rows = [] if not options.ours else _lmdb(options, log, folder)
        with redis_server.server() as server:
            if server is None:
                print("bench: online: Redis is not installed, its rows are left out", flush=True)
            elif options.ours:
                rows += _redis(options, log, server.port, folder)
            rows += _feast(options, log, folder, None if server is None else server.port)
    return rows


@contextmanager
def place() -> Iterator[Path]:
    """A folder beside the bench's data, which is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="online-", dir=data.cache()) as folder:
        yield Path(folder)


def ours(log: str, url: str) -> Side:
    """Our side, with a store at an address."""
    return Side(OURS, "bench.online_reads:Ours", {"log": log, "url": url}, env=our_places())


def _lmdb(options: Options, log: str, folder: Path) -> list[Row]:
    store = folder / "lmdb"
    with workers([ours(log, f"lmdb:///{store}")], options.threads) as found:
        held = found[OURS].call("fill")
        found[OURS].call("open")
        check_answers(found[OURS], folder)
        raw = Side(
            LMDB, "bench.online_reads:RawLmdb", {"folder": str(store), "namespaces": held["namespaces"]}
        )
        with Worker(raw, options.threads) as other:
            _check_bytes(found[OURS], other, held["namespaces"])
            both = {OURS: found[OURS], LMDB: other}
            rows: list[Row] = []
            for size, calls in SIZES.items():
                timed = take_turns(both, size, dict.fromkeys(both, calls), options.runs, own=True)
                rows.append(against("online", f"online-lmdb-{size}", timed, OURS, LMDB, LMDB_BARS[size]))
                built = take_turns({LMDB: other}, size, {LMDB: calls}, options.runs, kind="keys")[LMDB]
                rows[-1].notes.append(f"with the bytes of its keys made in the time: {built.words}")
                if size in P99_US:
                    rows.append(limit("online", f"online-lmdb-{size}-p99", timed[OURS], P99_US[size]))
    rows[0].notes.insert(
        0, f"{held['records']:,} records of {held['bytes'] / held['records']:.0f} bytes in 5 views"
    )
    return rows


def _redis(options: Options, log: str, port: int, folder: Path) -> list[Row]:
    with workers([ours(log, f"redis://127.0.0.1:{port}")], options.threads) as found:
        held = found[OURS].call("fill")
        found[OURS].call("open")
        check_answers(found[OURS], folder)
        raw = Side(REDIS, "bench.online_reads:RawRedis", {"port": port, "namespaces": held["namespaces"]})
        with Worker(raw, options.threads) as other:
            _check_bytes(found[OURS], other, held["namespaces"])
            both = {OURS: found[OURS], REDIS: other}
            rows: list[Row] = []
            for size, calls in SIZES.items():
                timed = take_turns(both, size, dict.fromkeys(both, calls), options.runs)
                timed[OURS].versions |= redis_server.version()
                rows.append(against("online", f"online-redis-{size}", timed, OURS, REDIS, REDIS_BAR))
    return rows


def check_answers(worker: Worker, folder: Path) -> None:
    """Online answers are what the training set has at the same instant."""
    accounts = list(range(0, data.ACCOUNTS, data.ACCOUNTS // CHECKED))
    for method in ("save", "training_set"):
        worker.call(method, path=str(folder / method), accounts=accounts)
    compare([("online", folder / "save"), ("training set", folder / "training_set")], kinds())


def kinds(decimal: str = "exact") -> Kinds:
    """How columns are compared."""
    how = {"count": "exact", "sum": decimal, "mean": "float", "max": "exact", "min": "exact"}
    found: Kinds = {"account_id": "exact"}
    return found | {name: how[function] for names in columns().values() for name, function in names.items()}


def _check_bytes(mine: Worker, other: Worker, namespaces: list[str]) -> None:
    accounts = list(range(0, data.ACCOUNTS, 10))
    ours_has = mine.call("digest", accounts=accounts, namespaces=namespaces)
    other_has = other.call("digest", accounts=accounts)
    if ours_has != other_has or not ours_has["records"]:
        raise WrongAnswer(f"{other.side.name}: {other_has}, {OURS}: {ours_has}")


def _feast(options: Options, log: str, folder: Path, port: int | None) -> list[Row]:
    """Feast beside ours; each in the store of its own that is told in the name."""
    values = folder / "values.parquet"
    stores = {"sqlite": {}, **({} if port is None else {"redis": {"port": port}})}
    rows: list[Row] = []
    for kind, more in stores.items():
        url = f"redis://127.0.0.1:{port}" if kind == "redis" else f"lmdb:///{folder / 'lmdb'}"
        name = f"Feast, {kind}"
        arguments = {"folder": str(folder / f"feast-{kind}"), "store": kind, **more}
        with workers([ours(log, url)], options.threads) as found:
            mine = found[OURS]
            mine.call("fill")
            mine.call("open")
            mine.call("values", path=str(values))
            with Worker(
                Side(name, "bench.online_feast:Feast", arguments, python()), options.threads
            ) as other:
                views = {view: list(names) for view, names in columns().items()}
                filled = other.call(
                    "fill", values=str(values), views=views, until_us=END_US, time_column="event_timestamp"
                )
                _check_feast(mine, other, folder)
                rows += _feast_rows(options, mine, other, filled)
    return rows


def _check_feast(mine: Worker, other: Worker, folder: Path) -> None:
    accounts = list(range(0, data.ACCOUNTS, data.ACCOUNTS // 500))
    mine.call("save", path=str(folder / "ours"), accounts=accounts)
    other.call("save", path=str(folder / "feast"), accounts=accounts)
    compare([(OURS, folder / "ours"), (other.side.name, folder / "feast")], kinds("float"))


def _feast_rows(options: Options, mine: Worker, other: Worker, filled: dict[str, Any]) -> list[Row]:
    name = other.side.name
    rows: list[Row] = []
    for size, calls in FEAST_CALLS.items():
        both = {name: other, **({OURS: mine} if options.ours else {})}
        number = {name: calls, OURS: SIZES[size]}
        plain = take_turns(both, size, number, options.runs)
        row = against(
            "online", f"online-feast-{filled['store']}-{size}", plain, OURS, name, FEAST_BARS.get(size)
        )
        row.notes.insert(0, f"{name}: {data.ACCOUNTS:,} accounts materialized in {filled['seconds']:.1f} s")
        whole: dict[str, Timed] = take_turns(both, size, number, options.runs, kind="dict")
        if OURS in whole:
            ratio = whole[name].of("median_us") / whole[OURS].of("median_us")
            row.notes.append(
                f"with to_dict() on both sides {ratio:.0f}x: {whole[OURS].words}; {whole[name].words}"
            )
        rows.append(row)
    return rows
