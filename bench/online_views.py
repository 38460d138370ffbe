"""What the online benches serve: 50 features in 5 views of one account, over the bench's own transactions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asof
from asof.flows.project import Project
from asof.testing.clock import FakeClock
from bench.data import DAY_US, DAYS, START_US

if TYPE_CHECKING:
    from asof.define.feature_view import FeatureView

END_US = START_US + DAYS * DAY_US
WINDOWS = {
    "hours": ("1h", "6h"),
    "day": ("6h", "1d"),
    "days": ("1d", "3d"),
    "week": ("3d", "7d"),
    "month": ("7d", "30d"),
}
SERVICE = "account_risk"


def columns() -> dict[str, dict[str, str]]:
    """The columns of each view, with the function that each is of."""
    functions = ("count", "sum", "mean", "max", "min")
    return {
        view: {f"{view}_{function}_{window}": function for function in functions for window in windows}
        for view, windows in WINDOWS.items()
    }


def views(log: str) -> list[FeatureView]:
    """Five views with ten features each: five functions over two windows."""
    account = asof.Entity("account", keys={"account_id": "int64"})
    source = asof.Events("transactions", asof.Parquet(log), event_time="occurred_at")
    return [
        asof.FeatureView(
            name,
            entity=account,
            source=source,
            features=[
                each.over(*windows).named(f"{name}_{each.function}_{{window}}")
                for each in (
                    asof.count(),
                    asof.sum("amount_exact"),
                    asof.mean("amount_exact"),
                    asof.max("amount"),
                    asof.min("amount"),
                )
            ],
            online=True,
        )
        for name, windows in WINDOWS.items()
    ]


def project(log: str) -> Project:
    """The project at the end of the log."""
    made = views(log)
    clock = FakeClock(datetime.fromtimestamp(END_US / 1e6, UTC))
    return Project([*made, asof.FeatureService(SERVICE, made)], clock=clock)
