"""Events of the stream benches, and the project that reads them: one view of three windows and five functions.

`rows` card payments of 50,000 accounts over 30 days in order of event time, six columns of JSON, in bodies of 10,000.
The log takes a body at the event time of its last event, so that windows end and records stay as large as in life.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import feather

from bench.data import ACCOUNTS, DAY_US, START_US, cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asof.clock import Clock
    from asof.flows.project import Project

VERSION, DAYS, BATCH, DEVICES = "v1", 30, 10_000, 20_000
RATE = 5_000  # events a second, where they come steadily
END_US = START_US + DAYS * DAY_US
WINDOWS = {"1h": 3_600_000_000, "1d": DAY_US, "7d": 7 * DAY_US}
FUNCTIONS = ("count", "sum", "mean", "min", "max")
SOURCE, VIEW, SERVICE = "payments", "activity", "account_activity"
_CATEGORIES = ("food", "travel", "fuel", "clothing", "games", "health", "home", "other")


@dataclass(frozen=True)
class Bodies:
    """Where generated events lie: `bodies` as they are appended, `columns` as they are counted."""

    folder: Path
    rows: int

    def bodies(self) -> list[tuple[bytes, int, int]]:
        """JSON arrays in order, each with its number of events and the event time of its last."""
        table = feather.read_table(self.folder / "bodies.arrow")
        return list(zip(*(table[name].to_pylist() for name in ("body", "count", "until_us")), strict=True))

    def columns(self) -> pa.Table:
        """Account, device, amount and event time of all events."""
        return feather.read_table(self.folder / "columns.arrow")


def payments(rows: int) -> Bodies:
    """`rows` payments, generated once; the merchant is the device that the money was taken by."""
    folder = cache() / "data" / VERSION / f"payments-{rows}"
    if not folder.exists():
        print(f"bench: generating payments-{rows} ...", flush=True)
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write(part, rows)
        part.rename(folder)
    return Bodies(folder, rows)


def _write(folder: Path, rows: int) -> None:
    rng = np.random.default_rng([20_240_104, rows])
    columns = {
        "account": _skewed(rng, ACCOUNTS, rows),
        "device": _skewed(rng, DEVICES, rows),
        "amount": np.maximum(1, np.round(rng.lognormal(3.5, 1.2, rows) * 100)).astype(np.int64),
        "at_us": np.sort(rng.integers(0, DAYS * DAY_US, rows)) + START_US,
    }
    categories, flags = rng.integers(0, len(_CATEGORIES), rows), rng.random(rows) < 0.1
    texts = np.datetime_as_string(columns["at_us"].astype("datetime64[us]"), unit="us", timezone="UTC")
    lists = [columns[name].tolist() for name in ("account", "device", "amount")]
    events = list(map(_event, *lists, categories.tolist(), texts.tolist(), flags.tolist()))
    cuts = range(0, rows, BATCH)
    made = {
        "body": [f"[{','.join(events[at : at + BATCH])}]".encode() for at in cuts],
        "count": [min(BATCH, rows - at) for at in cuts],
        "until_us": [int(columns["at_us"][min(at + BATCH, rows) - 1]) for at in cuts],
    }
    feather.write_feather(pa.table(made), folder / "bodies.arrow", compression="uncompressed")
    feather.write_feather(pa.table(columns), folder / "columns.arrow", compression="uncompressed")


def _skewed(rng: np.random.Generator, keys: int, rows: int) -> np.ndarray:
    weights = rng.lognormal(0.0, 1.2, keys)
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return np.searchsorted(cumulative, rng.random(rows), side="right").astype(np.int64)


def _event(account: int, device: int, amount: int, category: int, at: str, flag: bool) -> str:
    return (
        f'{{"account_id":"{account_id(account)}","amount":{amount},"merchant":"{merchant(device)}",'
        f'"category":"{_CATEGORIES[category]}","at":"{at}","flag":{"true" if flag else "false"}}}'
    )


def account_id(number: int) -> str:
    """An account's key."""
    return f"acct_{number:08d}"


def merchant(number: int) -> str:
    """A merchant's key."""
    return f"dev_{number:06d}"


def project(
    folder: Path, stream: Any, clock: Clock, *, key: str = "account_id", online: bool = True
) -> Project:
    """A project in memory over a stream, with one view of an entity whose key is this column."""
    import asof
    from asof.flows.project import Project

    types = {
        "account_id": "string", "amount": "int64", "merchant": "string", "category": "string",
        "at": "timestamp", "flag": "bool", "known_at": "timestamp",
    }  # fmt: skip
    source = asof.Events(
        SOURCE, asof.Landed(columns=types), event_time="at", known_at="known_at", stream=stream
    )
    made = [asof.count(), *(each("amount") for each in (asof.sum, asof.mean, asof.min, asof.max))]
    view = asof.FeatureView(
        VIEW,
        entity=asof.Entity(key.removesuffix("_id"), keys={key: "string"}),
        source=source,
        features=[each.over(*WINDOWS) for each in made],
        online=online,
    )
    return Project([view, asof.FeatureService(SERVICE, [view])], clock=clock, folder=folder)


def answers(table: pa.Table, key: str, numbers: list[int], at_us: int) -> list[list[float | None]]:
    """What the view has to say at an instant about entities, counted row by row, without asof: for each the features
    in the order `FUNCTIONS` x `WINDOWS`.
    """
    column, at, amount = (table[name].to_numpy() for name in (key, "at_us", "amount"))
    order = np.argsort(column, kind="stable")
    starts = np.searchsorted(column, numbers, sorter=order)
    stops = np.searchsorted(column, numbers, side="right", sorter=order)
    return [
        [value for function in FUNCTIONS for value in _over(function, at[mine], amount[mine], at_us)]
        for mine in (order[start:stop] for start, stop in zip(starts, stops, strict=True))
    ]


def _over(function: str, at: np.ndarray, amount: np.ndarray, at_us: int) -> Iterator[float | None]:
    for length in WINDOWS.values():
        mine = amount[(at >= at_us - length) & (at < at_us)]
        if function in {"count", "sum"}:
            yield float(len(mine) if function == "count" else mine.sum())
        else:
            yield float(getattr(np, function)(mine)) if len(mine) else None
