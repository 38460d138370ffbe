"""The extract of a simulated bank: five tables, written as Parquet, the same bytes for the same bank.

The invariant: no row in any table became known at or after `extracted_at`, and every table is in order of ingestion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Bank:
    """The tables of a simulated bank, as extracted at one instant: no row in them became known at or after it.

    Every table is in order of ingestion. The columns are those of `SCHEMAS`.
    """

    transactions: pa.Table
    profiles: pa.Table
    logins: pa.Table
    ach_debits: pa.Table
    ach_returns: pa.Table
    extracted_at: datetime

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """The tables by name."""
        return {
            "transactions": self.transactions,
            "profiles": self.profiles,
            "logins": self.logins,
            "ach_debits": self.ach_debits,
            "ach_returns": self.ach_returns,
        }

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Writes each table to `folder/NAME.parquet` and returns the paths by table name.

        The folder is made if it is missing; files of these names are replaced. The same bank gives the same bytes.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.parquet" for name in self.tables}
        for name, table in self.tables.items():
            unfinished = paths[name].with_suffix(".parquet.part")
            pq.write_table(table, unfinished, compression="zstd")
            unfinished.replace(paths[name])
        return paths
