"""Histories of a council's purchase cards: of the merchant, of the card, and of the card at the merchant.

Two facts about the data shape the definitions:

- `trans_date` is a day without a time, so nobody knows what came first within a day. A window `[t - w, t)`, closed on
  the left as by default, ends with the day before: no feature sees another row of its own day.
- The category is entered by the cardholder afterwards. When, the data does not say; here it counts as known after 31
  days. So two sources read one file: `transactions` (merchant, card, amount: known at once) and `coded` (the category
  too: `delay="31d"`). A feature from `coded` sees the categories that had been entered by then, and no later ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from asof import (
    Entity,
    Events,
    FeatureService,
    FeatureView,
    Parquet,
    count,
    distinct,
    last,
    mean,
    request_feature,
    sum,
    topk,
)

FILE = "data/transactions.parquet"
YEAR = "365d"
CODING_DELAY = "31d"

# The council published one file as May and as June 2014. A row without a key is never matched: one copy is passed over.
ONCE = "source_file <> 'purchasecardtransactionsjune2014.xls'"
MERCHANT = "lower(trim(merchant_name))"
CHAIN = "nullif(regexp_extract(lower(merchant_name), '[a-z][a-z&'']+'), '')"  # tesco of "tesco pfs 4203"

COLUMNS = {
    "merchant": f"case when {ONCE} then {MERCHANT} end",
    "chain": f"case when {ONCE} then {CHAIN} end",
    "card": f"case when {ONCE} then card_id::integer end",
    "amount": "gross_amount",
}
SPINE = f"""
    select row_id, trans_date, category, {MERCHANT} as merchant, {CHAIN} as chain,
           card_id::integer as card, gross_amount as amount
    from '{FILE}' where {ONCE} and category is not null order by row_id
"""

Columns = np.ndarray[tuple[int], Any]


def events(name: str, delay: str | None, description: str) -> Events:
    """The transactions as a source; `row_id` orders the rows of a day."""
    return Events(
        name,
        Parquet(FILE),
        event_time="trans_date",
        sequence="row_id",
        columns=COLUMNS,
        delay=delay,
        description=description,
    )


transactions = events("transactions", None, "Merchant, card and amount, known on the day.")
coded = events("coded", CODING_DELAY, "The same with the category, known when it has been entered.")

merchant = Entity("merchant", keys={"merchant": "string"}, description="The name on the statement.")
chain = Entity(
    "chain", keys={"chain": "string"}, description="The first word of the name: a chain's branches together."
)
card = Entity(
    "card", keys={"card": "int32"}, description="Four masked digits: now and then two cards share them."
)
pair = Entity("pair", keys={"card": "int32", "merchant": "string"}, description="One card at one merchant.")

merchant_activity = FeatureView(
    "merchant_activity",
    entity=merchant,
    source=transactions,
    features=[
        count().over("30d", YEAR).named("merchant_count_{window}"),
        sum("amount").over(YEAR).named("merchant_spend_365d"),
        mean("amount").over(YEAR).named("merchant_mean_365d"),
        distinct("card").over(YEAR).named("merchant_cards_365d"),
        last("trans_date").named("merchant_last_day"),
    ],
)
card_activity = FeatureView(
    "card_activity",
    entity=card,
    source=transactions,
    features=[
        count().over("30d", YEAR).named("card_count_{window}"),
        sum("amount").over("30d").named("card_spend_30d"),
        distinct("merchant").over(YEAR).named("card_merchants_365d"),
    ],
)


@request_feature(inputs=[merchant_activity["merchant_mean_365d"]], request={"amount": "decimal(12,2)"})
def amount_vs_usual(amount: Columns, merchant_mean_365d: Columns) -> Columns:
    """The amount in units of the merchant's mean; null where there is none, or none that is positive."""
    return amount / np.where(merchant_mean_365d > 0, merchant_mean_365d, np.nan)


@request_feature(inputs=[merchant_activity["merchant_last_day"]])
def days_since_merchant(event_time: Columns, merchant_last_day: Columns) -> Columns:
    """Days since anybody last paid at the merchant; null where nobody did."""
    return (event_time - merchant_last_day.astype("datetime64[us]")) / np.timedelta64(1, "D")


def categories(entity: Entity) -> FeatureView:
    """What an entity's transactions were coded as: all categories of a year, the commonest and the newest ones."""
    return FeatureView(
        f"{entity.name}_categories",
        entity=entity,
        source=coded,
        features=[
            count("category").over(YEAR).named(f"{entity.name}_coded_365d"),
            count().by("category").over(YEAR).named(f"{entity.name}_categories_365d"),
            topk("category", k=3).over(YEAR).named(f"{entity.name}_top_365d"),
            last("category", n=3).named(f"{entity.name}_newest"),
        ],
    )


expense_category = FeatureService(
    "expense_category",
    [
        merchant_activity,
        card_activity,
        amount_vs_usual,
        days_since_merchant,
        categories(pair),
        categories(merchant),
        categories(chain),
        categories(card),
    ],
    description="What to propose as the category of a card transaction.",
)
