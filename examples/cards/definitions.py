"""What a council's purchase cards tell of the next transaction: histories of the merchant, the card, and the two together.

Two facts about the data shape the definitions:

- `trans_date` is a day without a time, so within a day nobody knows what came first. Windows are closed on the left, as by
  default: `[t - w, t)` at midnight ends before the day itself, and no feature sees another row of its own day.
- The expense category is entered by the cardholder afterwards. When, the data does not say; here it counts as known after 31
  days. So there are two sources over one file: `transactions` (merchant, card, amount: known at once) and `coded` (the
  category: `delay="31d"`), and features from `coded` see only what had been coded by then.
"""

from __future__ import annotations

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

FILE = Parquet("data/transactions.parquet")
YEAR = "365d"

# The file of June 2014 is the file of May 2014 once more. Rows without a key are never matched, so it is read past.
ONCE = "source_file <> 'purchasecardtransactionsjune2014.xls'"
MERCHANT = "lower(trim(merchant_name))"
# "tesco stores 2335" and "tesco pfs 4203" are one chain: the first word that is not a number.
CHAIN = "regexp_extract(lower(merchant_name), '[a-z][a-z&'']+')"

COLUMNS = {
    "merchant": f"case when {ONCE} then {MERCHANT} end",
    "chain": f"case when {ONCE} then {CHAIN} end",
    "card": f"case when {ONCE} then card_id::integer end",
    "amount": "gross_amount",
}
SPINE = f"""
    select row_id, trans_date, {MERCHANT} as merchant, {CHAIN} as chain, card_id::integer as card,
           gross_amount as amount, merchant_name, category
    from 'data/transactions.parquet' where {ONCE} and category is not null order by row_id
"""

transactions = Events("transactions", FILE, event_time="trans_date", sequence="row_id", columns=COLUMNS)
coded = Events(
    "coded", FILE, event_time="trans_date", sequence="row_id", columns=COLUMNS, delay="31d",
    description="The same transactions, known once their category is entered.",
)  # fmt: skip

merchant = Entity("merchant", keys={"merchant": "string"})
chain = Entity("chain", keys={"chain": "string"})
card = Entity("card", keys={"card": "int32"}, description="A masked card number; two cards can share one.")
pair = Entity("card_at_merchant", keys={"card": "int32", "merchant": "string"})

merchant_activity = FeatureView(
    "merchant_activity", entity=merchant, source=transactions,
    features=[
        count().over("30d", YEAR).named("merchant_count_{window}"),
        sum("amount").over(YEAR).named("merchant_spend_365d"),
        mean("amount").over(YEAR).named("merchant_mean_365d"),
        distinct("card").over(YEAR).named("merchant_cards_365d"),
        last("trans_date").named("merchant_last_day"),
    ],
)  # fmt: skip
card_activity = FeatureView(
    "card_activity", entity=card, source=transactions,
    features=[
        count().over("30d", YEAR).named("card_count_{window}"),
        sum("amount").over("30d").named("card_spend_30d"),
        mean("amount").over(YEAR).named("card_mean_365d"),
        distinct("merchant").over(YEAR).named("card_merchants_365d"),
    ],
)  # fmt: skip
pair_activity = FeatureView(
    "pair_activity", entity=pair, source=transactions,
    features=[count().over("lifetime").named("pair_count")],
)  # fmt: skip


def categories(view: str, entity: Entity, *, lasts: int) -> FeatureView:
    """An entity's most frequent categories and its newest ones, as they were coded by then."""
    return FeatureView(
        view, entity=entity, source=coded,
        features=[
            topk("category", k=3).over("lifetime").named(f"{entity.name}_top"),
            last("category", n=lasts).named(f"{entity.name}_last"),
            count().by("category").over(YEAR).named(f"{entity.name}_map"),
        ],
    )  # fmt: skip


merchant_categories = categories("merchant_categories", merchant, lasts=3)
chain_categories = categories("chain_categories", chain, lasts=1)
card_categories = categories("card_categories", card, lasts=5)
pair_categories = categories("pair_categories", pair, lasts=2)

service=FeatureService("s",[merchant_activity,card_activity,pair_activity,merchant_categories,chain_categories,card_categories,pair_categories])
