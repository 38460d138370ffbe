"""A small real reader over a dictionary: the interface of the online reader, its checks and its errors, and no store.

Account `a1` has everything, `a2` has nulls and an expired balance, any other has no record. `slow_s` makes it a store
behind a network that takes its time; keys that begin with `boom` hit a bug, and with `down` a store that is down.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from asof.clock import SystemClock, parse_time, to_us
from asof.define.window import BEGIN_US
from asof.errors import (
    BackendError,
    DataError,
    LimitError,
    MissingColumn,
    NotMaterialized,
    UnknownName,
    WrongType,
    did_you_mean,
)
from asof.flows.answer import EXPIRED, MISSING, NULL, PRESENT, STALE, Answer, Freshness
from asof.types import DType

WATERMARK_US = parse_time("2026-01-31T11:59:00Z")
NEWEST_US = parse_time("2026-01-31T11:58:30Z")
AT = "2026-01-31T12:00:00Z"
MOST = 1_000

D = DType.parse
COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("count_1d", "int64", "activity", "count_1d"),
    ("mean_7d", "float64", "activity", "amount_mean_7d"),
    ("balance", "decimal(18,2)", "balances", "balance"),
    ("open", "bool", "balances", "is_open"),
    ("opened", "timestamp", "balances", "opened"),
    ("born", "date", "balances", "born"),
    ("last_codes", "list<string>", "activity", "last_codes"),
    ("by_code", "map<int64>", "activity", "by_code"),
    ("home", "string", "balances", "home"),
    ("share", "float64", "", "share"),
)
ROWS: dict[str, dict[str, Any]] = {
    "a1": {
        "count_1d": 3, "mean_7d": 12.5, "balance": -1205, "open": 1, "opened": parse_time("2020-02-29T00:00:00.25Z"),
        "born": 10957, "last_codes": ["R01", "R10"], "by_code": [("R01", 2), ("R10", 1)], "home": "Köln",
    },
    "a2": {"count_1d": 0, "mean_7d": None, "balance": None, "open": None, "opened": None, "born": None,
           "last_codes": [], "by_code": [], "home": None},
}  # fmt: skip


@dataclass(frozen=True)
class Info:
    name: str = "ach_risk"
    description: str = "For tests."
    owner: str = "risk"
    names: tuple[str, ...] = tuple(each[0] for each in COLUMNS)
    dtypes: tuple[DType, ...] = tuple(D(each[1]) for each in COLUMNS)
    views: tuple[str, ...] = tuple(each[2] for each in COLUMNS)
    features: tuple[str, ...] = tuple(each[3] for each in COLUMNS)
    keys: tuple[tuple[str, DType], ...] = (("account_id", D("string")),)
    request: tuple[tuple[str, DType], ...] = (("amount", D("float64")),)
    watermarks: dict[str, int] = field(
        default_factory=lambda: {"activity": WATERMARK_US, "balances": BEGIN_US}
    )
    fingerprint: str = "0123456789ab"


@dataclass(frozen=True)
class Small(Info):
    """One view of one number: the smallest answer, and one whose only request column is none."""

    name: str = "small"
    names: tuple[str, ...] = ("count_1d",)
    dtypes: tuple[DType, ...] = (D("int64"),)
    views: tuple[str, ...] = ("activity",)
    features: tuple[str, ...] = ("count_1d",)
    request: tuple[tuple[str, DType], ...] = ()


class DictReader:
    """Reads `ach_risk` and `small` from `ROWS`."""

    def __init__(self, *, embedded: bool = True, slow_s: float = 0.0, environment: str = "prod") -> None:
        self.environment = environment
        self.embedded = embedded
        self.revision: int | None = 7
        self.problem: str | None = None
        self.slow_s = slow_s
        self.materialized = True
        self.next_revision: int | None = None
        self.closed = False
        self.reads = 0
        self._infos: dict[str, Info] = {"ach_risk": Info(), "small": Small()}
        self._names = tuple(self._infos)
        self._clock = SystemClock()

    def services(self) -> tuple[str, ...]:
        return self._names

    def describe(self, service: str) -> Info:
        if service not in self._infos:
            hint = did_you_mean(service, self._infos)
            raise UnknownName(f"no feature service {service!r}", hint=hint, service=service)
        return self._infos[service]

    def read(
        self,
        service: str,
        entities: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]] | None = None,
        at: datetime | None = None,
    ) -> Answer:
        info = self.describe(service)
        keys = _check(info, entities, request or {})
        self.reads += any(key for key in keys)
        if self.slow_s and any(keys):
            threading.Event().wait(self.slow_s)
        at_us = parse_time(AT) if at is None else to_us(at)
        if at_us < WATERMARK_US - 86_400_000_000:
            raise DataError("at: before what the records allow", at=str(at))
        for key in keys:
            if key.startswith("boom"):
                raise RuntimeError(f"a bug that quotes {key}")
            if key.startswith("down"):
                raise BackendError("online store: no connection", retryable=True)
        if not self.materialized:
            raise NotMaterialized("view 'activity' has nothing in the store yet", view="activity")
        return self._answer(info, keys, list((request or {}).get("amount", [])), at_us)

    def _answer(self, info: Info, keys: list[str], amounts: list[Any], at_us: int) -> Answer:
        names, dtypes = info.names, info.dtypes
        size = len(keys)
        values = np.zeros((size, len(names)), np.int64)
        valid = np.zeros((size, len(names)), bool)
        statuses = np.zeros((size, len(names)), np.uint8)
        others: dict[int, pa.Array] = {}
        for column, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
            made = [_value(name, key, amounts[row] if amounts else None) for row, key in enumerate(keys)]
            valid[:, column] = [value is not None for value in made]
            statuses[:, column] = [_status(name, key, value) for key, value in zip(keys, made, strict=True)]
            if dtype.kind in {"string", "list", "map"}:
                others[column] = pa.array(made, _ARROW[str(dtype)])
            elif (
                name == "mean_7d"
            ):  # a plain type that the reader's kernels do not give: its bits are anything
                others[column] = pa.array(made, pa.float64())
                values[:, column] = 416_611_827_830
            elif dtype.kind == "float64":
                values[:, column] = np.array([value or 0.0 for value in made], np.float64).view(np.int64)
            else:
                values[:, column] = [value or 0 for value in made]
        newest = np.array([NEWEST_US if key in ROWS else BEGIN_US for key in keys], np.int64)
        freshness = (Freshness("activity", WATERMARK_US, newest), Freshness("balances", BEGIN_US, newest))
        view_of = tuple({"activity": 0, "balances": 1}.get(view, -1) for view in info.views)
        return Answer(info.name, at_us, names, dtypes, values, valid, statuses, others, freshness, view_of)

    def refresh(self) -> bool:
        if self.next_revision is None or self.next_revision == self.revision:
            return False
        self.revision = self.next_revision
        return True

    def check(self) -> None:
        if not self.materialized:
            raise NotMaterialized("view 'activity' has nothing in the store yet", view="activity")

    def close(self) -> None:
        self.closed = True


_ARROW = {
    "string": pa.string(), "list<string>": pa.list_(pa.string()), "map<int64>": pa.map_(pa.string(), pa.int64()),
}  # fmt: skip


def _check(
    info: Info, entities: Mapping[str, Sequence[Any]], request: Mapping[str, Sequence[Any]]
) -> list[str]:
    for what, given, wanted in (
        ("entity column", entities, info.keys),
        ("request column", request, info.request),
    ):
        names = [name for name, _ in wanted]
        for name in names:
            if name not in given:
                allowed = f"needed: {', '.join(names)}"
                raise MissingColumn(f"service {info.name!r}: no {what} {name!r}", hint=allowed, column=name)
        for name in given:
            if name not in names:
                hint = did_you_mean(name, names)
                raise UnknownName(f"service {info.name!r} takes no {what} {name!r}", hint=hint, column=name)
        for name, dtype in wanted:
            allowed = (str,) if dtype.kind == "string" else (int, float)
            for place, value in enumerate(given[name]):
                if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
                    raise WrongType(
                        f"{what} {name!r}, item {place}: not a {dtype}",
                        column=name,
                        position=place,
                        expected=str(dtype),
                    )
    keys = ["" if key is None else key for key in entities["account_id"]]
    if len(keys) > MOST:
        raise LimitError(f"{len(keys)} entities; at most {MOST}", limit=MOST, seen=len(keys))
    return keys


def _value(name: str, key: str, amount: float | None) -> Any:
    if name == "share":
        return None if amount is None else amount / 100
    if key not in ROWS:
        return 0 if name == "count_1d" else [] if name in {"last_codes", "by_code"} else None
    return ROWS[key][name]


def _status(name: str, key: str, value: Any) -> int:
    if name == "share":
        return PRESENT if value is not None else NULL
    if key not in ROWS:
        return MISSING
    if key == "a2" and name == "balance":
        return EXPIRED
    if key == "a2" and name == "home":
        return STALE
    return PRESENT if value is not None else NULL
