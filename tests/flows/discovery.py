"""A few definitions with everything that lineage and discovery tell of: owners, tags, deprecation, personal data,
derived columns, a union, a request feature, a label and two models.
"""

from __future__ import annotations

from asof import (
    CSV,
    Deprecated,
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Label,
    Model,
    Parquet,
    Union,
    banking_days,
    count,
    decayed_sum,
    latest,
    ratio,
    request_feature,
    sum,
)
from asof.engines.duckdb import DuckDBEngine, open_database
from asof.flows.lineage import Lineage, columns_of, lineage_of, state_of
from asof.flows.load import Definitions

account = Entity("account", keys={"account_id": "string"}, owner="core", description="A current account.")
card = Events(
    "card", Parquet("card/*.parquet"), event_time="at", known_at="ingested_at", key="tx_id",
    deleted="status = 'void'", columns={"cents": "amount * 100", "fee": "1"}, personal=["email"],
    owner="payments", tags=["raw"], description="Card transactions, corrected for three days.",
)  # fmt: skip
ach = Events(
    "ach", CSV("ach.csv", columns={"account_id": "string", "usd": "decimal(12,2)"}),
    event_time="at", delay="1d", zone="America/New_York", deprecated=Deprecated("2027-06-30", use="ach_v2"),
)  # fmt: skip
money = Union("money", [card.mapped(amount="cents"), ach.mapped(amount="usd")])
spend = FeatureView(
    "spend", entity=account, source=card, owner="risk", tags=["card", "core"], online=True,
    description="What an account spends by card.",
    features=[
        count().over("1h", "1d"),
        sum("amount").over("1d").described("Spend of a day, in dollars."),
        sum("amount").where("mcc = '7995'").over("30d").named("gambling").deprecated("2027-01-31", use="spend"),
        ratio(sum("amount").where("channel = 'web'"), count()).over("7d").named("web_share"),
        latest("email", ttl="90d"),
    ],
)  # fmt: skip
flow = FeatureView(
    "flow", entity=account, source=money, keys={"account_id": "lower(acct)"},
    features=[sum("amount").by("kind").over("7d"), decayed_sum("amount", "36h").over("30d")],
)  # fmt: skip


@request_feature(inputs=[spend["amount_sum_1d"]], request={"ticket": "float64"}, owner="risk")
def vs_usual(amount_sum_1d, ticket):
    """How the ticket compares to the spend of a day."""
    return ticket / amount_sum_1d


fraud = FeatureService(
    "fraud",
    [spend["count_1h"], spend["amount_sum_1d"].named("spend_1d"), spend["email"], vs_usual, flow],
    owner="risk", tags=["core"],
)  # fmt: skip
returned = Label(
    "returned", entity=account, source=ach, outcome="code", horizon={"R01": banking_days(2), "*": "60d"},
    where="usd > 10", owner="risk",
)  # fmt: skip
fraud_model = Model("fraud", service=fraud, labels=[returned], owner="science", description="Says fraud.")
other_model = Model("other", service=fraud, deprecated=Deprecated("2026-12-31", use="fraud"))
ALL = Definitions([fraud_model, other_model]).all()


def bank_lineage() -> Lineage:
    """The lineage of all of them, with SQL read by the engine."""
    from pathlib import Path

    return lineage_of(state_of(ALL), columns_of(DuckDBEngine(Path(), open_database())))
