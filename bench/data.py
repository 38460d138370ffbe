"""Makes the data that the benches read: seeded, generated once, kept in `bench/.cache/`.

Two shapes. `events(n)`: a log of n bank transactions of 50,000 accounts over 180 days, in order of event time;
a few accounts do most of the work (lognormal weights, sigma 1.2). `readings(skewed)`: 10 million rows of 10
columns, 1,000 per key, for latest values. Each comes with spines: rows of key + time that ask for features, in
no order.

The same arguments give the same rows with any version of NumPy that keeps PCG64's streams (NEP 19 does not
promise the distributions, so a cache must not be mixed: its folder carries `VERSION`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = "v1"
ACCOUNTS = 50_000
DAYS = 180
DAY_US = 86_400_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01 00:00 UTC
CHUNK = 5_000_000  # rows made at a time, and rows per file
ROW_GROUP = 500_000
LATE_SHARE = 0.01
LATE_MEAN_US = 6 * 3_600_000_000


@dataclass(frozen=True)
class Dataset:
    """Where one generated data set lies: `log` is a glob of Parquet files, `spines` one file per size."""

    folder: Path
    rows: int

    @property
    def log(self) -> str:
        return str(self.folder / "log-*.parquet")

    def spine(self, rows: int) -> str:
        return str(self.folder / f"spine-{rows}.parquet")


def cache() -> Path:
    """The folder of everything generated; it ignores itself in git."""
    root = Path(os.environ.get("ASOF_BENCH_CACHE", Path(__file__).parent / ".cache"))
    root.mkdir(parents=True, exist_ok=True)
    (root / ".gitignore").write_text("*\n")
    return root


def events(rows: int, spines: tuple[int, ...] = (100_000,)) -> Dataset:
    """`rows` transactions; columns: account_id, account_key, occurred_at, ingested_at, amount, amount_exact."""
    return _once(f"events-{rows}", rows, spines, lambda folder: _write_events(folder, rows, spines))


def readings(rows: int, *, per_key: int = 1_000, skewed: bool = False) -> Dataset:
    """`rows` rows of 10 columns (4 float64, 3 int64, 3 string), `per_key` per key on average, in order of time."""
    name = f"readings-{rows}-{'skewed' if skewed else 'even'}"
    return _once(
        name, rows, (100_000,), lambda folder: _write_readings(folder, rows, rows // per_key, skewed)
    )


def _once(name: str, rows: int, spines: tuple[int, ...], write: Callable[[Path], None]) -> Dataset:
    """Generates into a temporary folder and moves it into place, so that a broken run leaves nothing behind."""
    folder = cache() / "data" / VERSION / (name + "".join(f"-s{s}" for s in spines))
    if not folder.exists():
        print(f"bench: generating {name} ...", flush=True)
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        part.rename(folder)
    return Dataset(folder, rows)


def _chunks(rows: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, rows, from, to) of chunks that share out the rows and the 180 days evenly."""
    count = -(-rows // CHUNK)
    for i in range(count):
        size = rows * (i + 1) // count - rows * i // count
        yield i, size, DAYS * DAY_US * i // count, DAYS * DAY_US * (i + 1) // count


def _draw(rng: np.random.Generator, cumulative: np.ndarray, rows: int) -> np.ndarray:
    return np.searchsorted(cumulative, rng.random(rows), side="right").astype(np.int64)


def _cumulative(rng: np.random.Generator, keys: int, sigma: float) -> np.ndarray:
    weights = rng.lognormal(0.0, sigma, keys)
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return cumulative


def _names(prefix: str, count: int) -> pa.Array:
    return pa.array([f"{prefix}{i:08d}" for i in range(count)], pa.string())


def _time(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.timestamp("us"))


def _exact(cents: np.ndarray) -> pa.Array:
    """Cents as decimal(18,2): a decimal128 is a little-endian 16-byte integer."""
    wide = np.zeros((len(cents), 2), np.int64)
    wide[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(18, 2), len(cents), [None, pa.py_buffer(wide)])


def _write_events(folder: Path, rows: int, spines: tuple[int, ...]) -> None:
    rng = np.random.default_rng([20_240_101, rows])
    cumulative = _cumulative(rng, ACCOUNTS, 1.2)
    keys = _names("acct_", ACCOUNTS)
    pool: list[
        tuple[np.ndarray, np.ndarray]
    ] = []  # accounts and times of the second half, to draw spines from
    for i, size, low, high in _chunks(rows):
        account = _draw(rng, cumulative, size)
        at = np.sort(rng.integers(low, high, size)) + START_US
        late = np.where(rng.random(size) < LATE_SHARE, rng.exponential(LATE_MEAN_US, size), 0).astype(
            np.int64
        )
        cents = np.maximum(1, np.round(rng.lognormal(3.5, 1.2, size) * 100)).astype(np.int64)
        table = pa.table(
            {
                "account_id": account,
                "account_key": keys.take(pa.array(account)),
                "occurred_at": _time(at),
                "ingested_at": _time(at + late),
                "amount": cents / 100,
                "amount_exact": _exact(cents),
            }
        )
        pq.write_table(table, folder / f"log-{i:03d}.parquet", row_group_size=ROW_GROUP)
        second = np.flatnonzero(at >= START_US + DAYS * DAY_US // 2)
        take = rng.choice(second, min(len(second), max(spines)), replace=False) if len(second) else second
        pool.append((account[take], at[take]))
    account, at = (np.concatenate(part) for part in zip(*pool, strict=True))
    for size in spines:
        pick = rng.choice(len(at), size, replace=len(at) < size)
        # Half of the rows ask at the very time of an event of theirs, half up to an hour later.
        later = np.where(rng.random(size) < 0.5, 0, rng.integers(1, 3_600_000_000, size))
        _write_spine(folder, account[pick], at[pick] + later, keys)


def _write_spine(folder: Path, key: np.ndarray, at: np.ndarray, keys: pa.Array) -> None:
    table = pa.table(
        {
            "row_id": np.arange(len(key), dtype=np.int64),
            "account_id": key,
            "account_key": keys.take(pa.array(key)),
            "event_time": _time(at),
        }
    )
    pq.write_table(table, folder / f"spine-{len(key)}.parquet", row_group_size=ROW_GROUP)


def _write_readings(folder: Path, rows: int, keys: int, skewed: bool) -> None:
    rng = np.random.default_rng([20_240_102, rows, skewed])
    cumulative = _cumulative(rng, keys, 2.5) if skewed else None
    even = None if skewed else rng.permutation(np.repeat(np.arange(keys, dtype=np.int64), rows // keys))
    names, tiers, merchants = _names("acct_", keys), _names("tier_", 5), _names("merchant_", 20_000)
    first = 0
    for i, size, low, high in _chunks(rows):
        account = even[first : first + size] if cumulative is None else _draw(rng, cumulative, size)
        first += size
        columns = {
            "account_id": account,
            "occurred_at": _time(np.sort(rng.integers(low, high, size)) + START_US),
        }
        columns |= {f"x{j}": np.round(rng.normal(0, 100, size), 4) for j in range(4)}
        columns |= {f"n{j}": rng.integers(0, 10 ** (2 + 2 * j), size) for j in range(3)}
        columns["s0"] = tiers.take(pa.array(rng.integers(0, 5, size)))
        columns["s1"] = merchants.take(pa.array(rng.integers(0, 20_000, size)))
        columns["s2"] = pa.array(np.char.mod("%012x", rng.integers(0, 2**48, size)), pa.string())
        pq.write_table(pa.table(columns), folder / f"log-{i:03d}.parquet", row_group_size=ROW_GROUP)
    key = rng.integers(0, keys, 100_000) if cumulative is None else _draw(rng, cumulative, 100_000)
    at = rng.integers(DAYS * DAY_US // 2, DAYS * DAY_US, 100_000) + START_US
    _write_spine(folder, key, at, names)
