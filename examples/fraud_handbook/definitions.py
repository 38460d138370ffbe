"""The features of the Fraud Detection Handbook's baseline, as asof definitions.

Source of what is computed, and of the columns' names: Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine
Learning for Credit Card Fraud Detection - Practical Handbook", Universite Libre de Bruxelles, 2022, chapter 3,
section "Baseline feature transformation". A day is 86,400 s; windows end at the transaction and hold it:

    flags     weekend: Saturday or Sunday; night: hour 0 to 6
    customer  count and mean amount in (t - w, t], w = 1, 7, 30 days
    terminal  count and share of frauds in (t - 7d - w, t - 7d]: a fraud is known after a week; 0 where there was none

Where the rows are, is told by the variable FRAUD_HANDBOOK_DATA (a folder; by default `data`, beside this file).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from asof import (
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Parquet,
    count,
    mean,
    ratio,
    request_feature,
    sum,
)

FILE = "transactions.parquet"
WINDOW_DAYS = (1, 7, 30)
LABEL_DELAY = "7d"

Times = np.ndarray[tuple[int], np.dtype[np.datetime64]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]

customer = Entity("customer", keys={"CUSTOMER_ID": "int32"}, description="A cardholder, who has one card.")
terminal = Entity("terminal", keys={"TERMINAL_ID": "int32"}, description="A merchant's payment terminal.")


@request_feature(dtype="int32", name="TX_DURING_WEEKEND")
def during_weekend(event_time: Times) -> Flags:
    """1 on Saturday and Sunday; 1970-01-01, day 0, was a Thursday (weekday 3)."""
    return (event_time.astype("datetime64[D]").astype(np.int64) + 3) % 7 >= 5


@request_feature(dtype="int32", name="TX_DURING_NIGHT")
def during_night(event_time: Times) -> Flags:
    """1 from 00:00:00 to 06:59:59."""
    return event_time.astype("datetime64[h]").astype(np.int64) % 24 <= 6


def customer_spending(source: Events) -> FeatureView:
    """How often and how much a customer pays; the transaction itself counts."""
    features = []
    for days in WINDOW_DAYS:
        for made, name in ((count(), "NB_TX"), (mean("TX_AMOUNT"), "AVG_AMOUNT")):
            window = made.over(f"{days}d", closed="right")
            features.append(window.named(f"CUSTOMER_ID_{name}_{days}DAY_WINDOW"))
    return FeatureView("customer_spending", entity=customer, source=source, features=features)


def terminal_risk(source: Events) -> FeatureView:
    """How busy a terminal was and which share of it was fraud, up to the day for which this is known."""
    share = ratio(sum("TX_FRAUD"), count(), empty=0.0)
    features = []
    for days in WINDOW_DAYS:
        for made, name in ((count(), "NB_TX"), (share, "RISK")):
            window = made.over(f"{days}d", offset=LABEL_DELAY, closed="right")
            features.append(window.named(f"TERMINAL_ID_{name}_{days}DAY_WINDOW"))
    return FeatureView("terminal_risk", entity=terminal, source=source, features=features)


def service_of(transactions: str | Path) -> FeatureService:
    """The handbook's 14 columns, in its order, over the transactions in a Parquet file."""
    source = Events("transactions", Parquet(str(transactions)), event_time="TX_DATETIME")
    return FeatureService(
        "fraud_handbook",
        [during_weekend, during_night, customer_spending(source), terminal_risk(source)],
    )


fraud_handbook = service_of(Path(os.environ.get("FRAUD_HANDBOOK_DATA", "data")) / FILE)
