"""Will this ACH debit come back? Entities, sources, features, the service that a model asks, and its label.

Paths start at this folder. `asof check` compares everything here with the data that it names.
"""

import numpy as np
from numpy.typing import NDArray

from asof import (
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Label,
    Log,
    Parquet,
    banking_days,
    count,
    distinct,
    first,
    last,
    latest,
    max,
    mean,
    request_feature,
    sum,
)

Numbers = NDArray[np.float64]
Times = NDArray[np.datetime64]

# ---------------------------------------------------------------------------------------------- entities
account = Entity("account", keys={"account_id": "string"})
payment = Entity("payment", keys={"payment_id": "string"})
device = Entity("device", keys={"device_id": "string"})
account_device = Entity("account_device", keys={"account_id": "string", "device_id": "string"})

# ----------------------------------------------------------------------------------------------- sources
# A row with the same key corrects the earlier one, from the moment when it is known: a transaction is pending, then it
# posts with another amount, or it is reversed, or it vanishes.
# stream=Log(): new rows come in through a durable log in this project. `asof stream` brings them into the online store,
# corrections too, and lands them beside the files here, so that they are history for training as well. `ingested_at` is
# then when the log took the row.
transactions = Events(
    "transactions",
    Parquet("data/transactions.parquet"),
    event_time="occurred_at",
    known_at="ingested_at",
    key="transaction_id",
    deleted="deleted",
    stream=Log(),
    columns={
        "reversed": "status = 'reversed'",
        "spent": "case when direction = 'debit' and status <> 'reversed' then amount end",
        "income": "case when category = 'income' and status <> 'reversed' then amount end",
        "net": "case when status <> 'reversed' then if(direction = 'credit', amount, -amount) end",
    },
)
returns = Events(
    "ach_returns",
    Parquet("data/ach_returns.parquet"),
    event_time="returned_at",
    known_at="ingested_at",
    stream=Log(),
)
logins = Events(
    "logins",
    Parquet("data/logins.parquet"),
    event_time="occurred_at",
    known_at="ingested_at",
    stream=Log(),
)
profiles = Events(
    "profiles",
    Parquet("data/profiles.parquet"),
    event_time="updated_at",
    known_at="ingested_at",
    stream=Log(),
)

# ---------------------------------------------------------------------------------------------- features
account_activity = FeatureView(
    "account_activity",
    entity=account,
    source=transactions,
    owner="payments-risk",
    features=[
        count().over("1h", "1d", "7d"),
        count().where("category = 'ach'").over("1d", "7d").named("ach_debits_{window}"),
        count().where("reversed").over("7d", "30d", "90d").named("reversed_{window}"),
        count().where("reversed and category = 'ach'").over("7d", "30d").named("ach_reversed_{window}"),
        sum("spent").over("1d", "7d", "30d"),
        sum("spent").by("category").over("30d"),
        sum("income").over("30d"),
        sum("net").over("7d", "30d", "90d"),
        mean("amount").where("category = 'ach'").over("90d").named("ach_usual"),
        max("spent").over("7d").named("largest_debit_7d"),
        distinct("merchant_id").over("30d"),
        last("merchant_id", n=5),
        last("occurred_at").where("income is not null").named("last_income_at"),
    ],
)
ach_history = FeatureView(
    "ach_history",
    entity=account,
    source=returns,
    features=[
        count().over("30d", "90d").named("returns_{window}"),
        count().where("return_code in ('R01', 'R09')").over("90d").named("unpaid_90d"),
        last("returned_at").named("last_return_at"),
    ],
)
sign_ins = FeatureView(
    "sign_ins",
    entity=account,
    source=logins,
    features=[
        count().over("1d", "30d").named("logins_{window}"),
        count().where("ip_country <> 'US'").over("7d").named("logins_abroad_7d"),
        distinct("device_id").over("30d").named("devices_30d"),
    ],
)
device_use = FeatureView(
    "device_use",
    entity=device,
    source=logins,
    features=[distinct("account_id").over("90d").named("accounts_on_device_90d")],
)
device_on_account = FeatureView(
    "device_on_account",
    entity=account_device,
    source=logins,
    features=[first("occurred_at").named("device_first_seen")],
)
profile = FeatureView(
    "profile",
    entity=account,
    source=profiles,
    features=[latest("tier", "segment", "credit_limit", ttl="400d")],
)


# ------------------------------------------------------------------------- features of the request itself
@request_feature(inputs=[account_activity["ach_usual"]], request={"amount": "decimal(18,2)"})
def amount_vs_usual(amount: Numbers, ach_usual: Numbers) -> Numbers:
    """The amount, in ACH debits of the usual size on this account."""
    return amount / ach_usual


@request_feature(inputs=[account_activity["income_sum_30d"]], request={"amount": "decimal(18,2)"})
def amount_vs_income(amount: Numbers, income_sum_30d: Numbers) -> Numbers:
    """The amount, in incomes of 30 days (of at least one dollar)."""
    return amount / np.maximum(income_sum_30d, 1.0)


@request_feature(inputs=[account_activity["last_income_at"]])
def days_since_income(event_time: Times, last_income_at: Times) -> Numbers:
    """Days since income was last seen."""
    return _days(event_time - last_income_at)


@request_feature(inputs=[ach_history["last_return_at"]])
def days_since_return(event_time: Times, last_return_at: Times) -> Numbers:
    """Days since an ACH debit on this account last came back."""
    return _days(event_time - last_return_at)


@request_feature(inputs=[device_on_account["device_first_seen"]])
def device_age_days(event_time: Times, device_first_seen: Times) -> Numbers:
    """Days since this device first signed in to this account; null for a device that never did, or no device."""
    return _days(event_time - device_first_seen)


@request_feature(dtype="int32")
def hour(event_time: Times) -> Numbers:
    """The hour of the day, UTC."""
    return event_time.astype("datetime64[h]").astype(np.int64) % 24


def _days(time: NDArray[np.timedelta64]) -> Numbers:
    return time / np.timedelta64(1, "D")


# ------------------------------------------------------------------------------------- service and label
# The debit that is scored is a transaction too, and counts itself (own_row): `net_sum_30d` is what is left after it.
ach_risk = FeatureService(
    "ach_risk",
    [
        account_activity, ach_history, sign_ins, device_use, device_on_account, profile,
        amount_vs_usual, amount_vs_income, days_since_income, days_since_return, device_age_days, hour,
    ],
    own_row=transactions,
    owner="payments-risk",
)  # fmt: skip

# Banks return within two banking days of settlement, which is a day after the debit; consumers have 60 days.
returned = Label(
    "returned",
    entity=payment,
    source=returns,
    outcome="return_code",
    horizon=dict.fromkeys(("R01", "R02", "R03", "R08", "R09", "R29"), banking_days(3))
    | dict.fromkeys(("R07", "R10", "R11"), "60d"),
)
