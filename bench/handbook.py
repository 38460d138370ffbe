"""The Fraud Detection Handbook's features for all its 1,754,155 transactions: 12 windows and 2 flags.

Customer: count and mean amount in `(t - w, t]`, the own row included. Terminal: count and share of fraud in `(t
- 7d - w, t - 7d]`, 0 when empty; w is 1, 7, 30 days. Other side: RANGE frames in DuckDB, the better of two ways
to write the time. Windows here are sets: of two rows of one second each counts in the other's window. The
book's pandas code goes through rows in the order of the file, so that the earlier one does not see the later;
`book_order` is that rule in SQL, and the bench tells how many rows differ by it (terminals cannot: their
windows ended a week before).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import OURS, Options, Row, measure, versus
from bench.peers import python
from bench.process import Side, Worker
from bench.windows import our_places
from bench.windows_others import ask

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.equal import Kinds

DAYS = (1, 7, 30)
DAY_S = 86_400
OTHERS = ("DuckDB frames, timestamps", "DuckDB frames, seconds")
IDS = (
    2**21
)  # more than there are transactions: seconds * IDS + id puts rows in order of time, then of the file


def _customer(names: str = "c") -> str:
    return ", ".join(
        f"count(*) OVER {names}{d} AS CUSTOMER_ID_NB_TX_{d}DAY_WINDOW, "
        f"avg(TX_AMOUNT) OVER {names}{d} AS CUSTOMER_ID_AVG_AMOUNT_{d}DAY_WINDOW"
        for d in DAYS
    )


def _terminal() -> str:
    return ", ".join(
        f"count(*) OVER t{d} AS TERMINAL_ID_NB_TX_{d}DAY_WINDOW, "
        f"coalesce(avg(TX_FRAUD) OVER t{d}, 0) AS TERMINAL_ID_RISK_{d}DAY_WINDOW"
        for d in DAYS
    )


def _query(path: str, time: str, span: str) -> str:
    """`time` is what rows are ordered by; `span` writes a number of seconds in the unit of that."""
    customer = ", ".join(
        f"c{d} AS (PARTITION BY CUSTOMER_ID ORDER BY {time} "
        f"RANGE BETWEEN {span.format(d * DAY_S - 1)} PRECEDING AND CURRENT ROW)"
        for d in DAYS
    )
    terminal = ", ".join(
        f"t{d} AS (PARTITION BY TERMINAL_ID ORDER BY {time} "
        f"RANGE BETWEEN {span.format((7 + d) * DAY_S - 1)} PRECEDING AND {span.format(7 * DAY_S)} PRECEDING)"
        for d in DAYS
    )
    return f"""
    SELECT TRANSACTION_ID, (isodow(TX_DATETIME) >= 6)::INTEGER AS TX_DURING_WEEKEND,
      (hour(TX_DATETIME) <= 6)::INTEGER AS TX_DURING_NIGHT, {_customer()}, {_terminal()}
    FROM '{path}' WINDOW {customer}, {terminal} ORDER BY TRANSACTION_ID"""


def duckdb_timestamps(path: str, threads: int) -> pa.Table:
    """Times are whole seconds, so `(t - w, t]` begins w less one second before t."""
    return ask(_query(path, "TX_DATETIME", "INTERVAL {} SECOND"), threads)


def duckdb_seconds(path: str, threads: int) -> pa.Table:
    return ask(_query(path, "epoch(TX_DATETIME)::INTEGER", "{}"), threads)


def book_order(path: str, threads: int) -> pa.Table:
    """The customer's features as the book's code computes them: of equal times, only rows up to the own one count."""
    frames = ", ".join(
        f"c{d} AS (PARTITION BY CUSTOMER_ID ORDER BY place "
        f"RANGE BETWEEN {(d * DAY_S - 1) * IDS} + TRANSACTION_ID PRECEDING AND CURRENT ROW)"
        for d in DAYS
    )
    sql = f"""
    WITH placed AS (
      SELECT TRANSACTION_ID, CUSTOMER_ID, TX_AMOUNT, epoch(TX_DATETIME)::BIGINT * {IDS} + TRANSACTION_ID AS place
      FROM '{path}'
    )
    SELECT TRANSACTION_ID, {_customer()} FROM placed WINDOW {frames} ORDER BY TRANSACTION_ID"""
    return ask(sql, threads)


def kinds() -> Kinds:
    found: Kinds = {"TRANSACTION_ID": "exact", "TX_DURING_WEEKEND": "exact", "TX_DURING_NIGHT": "exact"}
    for d in DAYS:
        found |= {
            f"CUSTOMER_ID_NB_TX_{d}DAY_WINDOW": "exact",
            f"CUSTOMER_ID_AVG_AMOUNT_{d}DAY_WINDOW": "float",
        }
        found |= {f"TERMINAL_ID_NB_TX_{d}DAY_WINDOW": "exact", f"TERMINAL_ID_RISK_{d}DAY_WINDOW": "float"}
    return found


def run(options: Options) -> list[Row]:
    path = options.data / "fraud-handbook" / "transactions.parquet"
    if not path.exists():
        raise FileNotFoundError(
            "the handbook's transactions are not ours to ship; name their folder with --data"
        )
    arguments = {"path": str(path)}
    peer, more = python(), arguments | {"threads": options.threads}
    sides = [Side(OURS, "bench.ours:handbook", arguments, env=our_places())] if options.ours else []
    sides += [
        Side(OTHERS[0], "bench.handbook:duckdb_timestamps", more, peer),
        Side(OTHERS[1], "bench.handbook:duckdb_seconds", more, peer),
    ]
    found = measure(sides, options, kinds=kinds(), runs=1 if options.quick else None)
    row = versus("handbook", "handbook", found, OTHERS, bar=">= 3", wanted=options.ours)
    row.notes = [
        f"{side.side}: {side.median:.2f} s, peak {side.peak / 1e9:.2f} GB" for side in found.values()
    ]
    row.notes.append(_ties(options, more, peer))
    return [row]


def _ties(options: Options, arguments: dict[str, object], peer: str) -> str:
    """In how many rows a customer's count would be another by the book's rule for equal times."""
    import pyarrow.compute as pc
    from pyarrow import feather

    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("duckdb_timestamps", "book_order"):
            with Worker(Side(name, f"bench.handbook:{name}", arguments, peer), options.threads) as worker:
                worker.ask("run")
                place = Path(folder) / f"{name}.arrow"
                tables.append(
                    feather.read_table(worker.ask("save", path=str(place))["path"], memory_map=False)
                )
    column = "CUSTOMER_ID_NB_TX_30DAY_WINDOW"
    differ = pc.sum(pc.cast(pc.not_equal(tables[0][column], tables[1][column]), "int64")).as_py()
    return f"by the book's rule for equal times {differ} of {tables[0].num_rows:,} rows have another customer count"
