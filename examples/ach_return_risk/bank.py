"""The project folder: the template, a simulated bank's tables, and the debits that ask for features.

One more day than there is history is simulated: its rows come as a stream later (`live.py`).

OUT/asof.toml, OUT/definitions.py   the template in project/, the user's from then on
OUT/data/*.parquet                  transactions, profiles, logins, ach_debits, ach_returns
OUT/payments.parquet                the spine: every ACH debit as it is when it is started
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from asof.testing.bank import Bank, simulate, size_for_events

TEMPLATE = Path(__file__).parent / "project"
FILES = ("asof.toml", "definitions.py")
DAYS = 365
LAST_MIDNIGHT = datetime(2024, 12, 31, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
SPINE = "payments.parquet"
_OF_THE_DEBIT = (
    "payment_id", "transaction_id", "account_id", "merchant_id", "device_id", "category", "direction", "amount",
    "sec_code",
)  # fmt: skip


def copy_template(folder: Path) -> list[str]:
    """Copy the template where it is missing; the names of the files that are there and differ, which are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for name in FILES:
        target = folder / name
        if not target.exists():
            shutil.copyfile(TEMPLATE / name, target)
        elif target.read_bytes() != (TEMPLATE / name).read_bytes():
            kept.append(name)
    return kept


def simulate_bank(events: int, seed: int) -> tuple[Bank, dict[str, pa.Table]]:
    """A bank as it was extracted after a year; and what became known on the day after, table by table.

    Raises:
        DefinitionError: `events` is not positive.
    """
    accounts, _ = size_for_events(events, DAYS)
    bank = simulate(accounts=accounts, days=DAYS + 1, seed=seed)
    known = {name: pc.less(table["ingested_at"], LAST_MIDNIGHT) for name, table in bank.tables.items()}
    until = {name: table.filter(known[name]) for name, table in bank.tables.items()}
    after = {name: table.filter(pc.invert(known[name])) for name, table in bank.tables.items()}
    return Bank(**until, extracted_at=LAST_MIDNIGHT), after


def write_bank(bank: Bank, folder: Path) -> None:
    """Write the bank's tables and the spine."""
    bank.write(folder / "data")
    unfinished = folder / f".{SPINE}.part"
    pq.write_table(spine_of(bank.ach_debits), unfinished, compression="zstd")
    unfinished.replace(folder / SPINE)


def spine_of(debits: pa.Table) -> pa.Table:
    """Every debit as a row that asks for features at the moment when it is started.

    The service counts the debit itself among the account's transactions (`own_row`), so the row has their columns:
    the time is called `occurred_at`, and the status is `pending`, as it is at that moment.
    """
    table = debits.select(_OF_THE_DEBIT)
    table = table.append_column("status", pa.array(["pending"] * debits.num_rows))
    return table.append_column("occurred_at", debits["initiated_at"])
