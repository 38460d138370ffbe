"""The project folder: the template, a simulated bank's tables, and the debits that ask for features.

OUT/asof.toml, OUT/definitions.py   the template in project/, the user's from then on
OUT/data/*.parquet                  transactions, profiles, logins, ach_debits, ach_returns
OUT/payments.parquet                the spine: every ACH debit as it is when it is started
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from asof.testing.bank import Bank

TEMPLATE = Path(__file__).parent / "project"
FILES = ("asof.toml", "definitions.py")
DAYS = 365
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
