"""What the simulated bank looks like: its tables, words, segments and ACH return codes.

The invariant: these constants and the tables that `simulate` returns agree (tests/testing/test_bank.py). Money is
decimal(18, 2), times are microseconds UTC, and the columns that say when a row could first be known are called
`ingested_at`. Read population.py next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

MONEY = pa.decimal128(18, 2)
INSTANT = pa.timestamp("us", tz="UTC")
CURRENCY = "USD"
ZONE = "America/New_York"

DIRECTIONS = ("debit", "credit")
STATUSES = ("pending", "posted", "reversed")
TIERS = ("basic", "plus", "premium")
SEC_CODES = ("WEB", "PPD", "TEL", "CCD")
COUNTRIES = ("US", "CA", "MX", "GB", "FR", "DE", "BR", "JP")


@dataclass(frozen=True)
class Spending:
    """How one category of card spending behaves: its share of purchases, amounts in USD, and where it happens."""

    name: str
    share: float
    median_usd: float
    sigma: float
    online: bool = False


SPENDING = (
    Spending("groceries", 0.17, 32.0, 0.70),
    Spending("dining", 0.20, 18.0, 0.60),
    Spending("fuel", 0.09, 38.0, 0.35),
    Spending("transport", 0.09, 12.0, 0.70),
    Spending("retail", 0.09, 34.0, 0.90),
    Spending("online", 0.13, 28.0, 1.00, online=True),
    Spending("electronics", 0.02, 90.0, 1.00, online=True),
    Spending("entertainment", 0.07, 16.0, 0.70, online=True),
    Spending("travel", 0.02, 180.0, 0.90, online=True),
    Spending("health", 0.04, 40.0, 0.90),
    Spending("home", 0.05, 45.0, 0.95),
    Spending("cash", 0.03, 60.0, 0.60),
)
CATEGORIES = (*(spending.name for spending in SPENDING), "income", "transfer", "fee", "ach")
INCOME, TRANSFER, FEE, ACH = (CATEGORIES.index(name) for name in ("income", "transfer", "fee", "ach"))


@dataclass(frozen=True)
class Segment:
    """A kind of customer: how many, what they earn and when, how much of it is planned to go, who has savings."""

    name: str
    share: float
    median_income_usd: float
    pay: Literal["biweekly", "monthly", "irregular"]
    outflow: float
    has_savings: float
    takeover: float


SEGMENTS = (
    Segment("salaried", 0.42, 4_200.0, "biweekly", 0.84, 0.88, 0.8),
    Segment("gig", 0.20, 2_600.0, "irregular", 0.93, 0.62, 1.1),
    Segment("student", 0.16, 1_500.0, "biweekly", 0.92, 0.66, 1.3),
    Segment("retired", 0.14, 2_900.0, "monthly", 0.80, 0.92, 1.7),
    Segment("small_business", 0.08, 9_000.0, "irregular", 0.88, 0.80, 0.5),
)
BUSINESS = 4


@dataclass(frozen=True)
class ReturnCode:
    """An ACH return reason code, its meaning, and the time in which it may come back after settlement.

    Exactly one of `banking_days` and `calendar_days` is set.

    Source: Nacha Operating Rules, return reason codes and return timeframes.
    """

    code: str
    meaning: str
    banking_days: int | None = None
    calendar_days: int | None = None


RETURN_CODES = (
    ReturnCode("R01", "insufficient funds", banking_days=2),
    ReturnCode("R02", "account closed", banking_days=2),
    ReturnCode("R03", "no account or unable to locate account", banking_days=2),
    ReturnCode("R07", "authorization revoked by customer", calendar_days=60),
    ReturnCode("R08", "payment stopped", banking_days=2),
    ReturnCode("R09", "uncollected funds", banking_days=2),
    ReturnCode("R10", "customer advises originator is not known or not authorized", calendar_days=60),
    ReturnCode("R11", "customer advises entry not in accordance with the authorization", calendar_days=60),
    ReturnCode("R29", "corporate customer advises not authorized", banking_days=2),
)

TRANSACTIONS = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("account_id", pa.string()),
        ("merchant_id", pa.string()),
        ("category", pa.string()),
        ("direction", pa.string()),
        ("amount", MONEY),
        ("currency", pa.string()),
        ("device_id", pa.string()),
        ("status", pa.string()),
        ("occurred_at", INSTANT),
        ("ingested_at", INSTANT),
        ("deleted", pa.bool_()),
    ]
)
PROFILES = pa.schema(
    [
        ("account_id", pa.string()),
        ("tier", pa.string()),
        ("segment", pa.string()),
        ("opened_on", pa.date32()),
        ("credit_limit", MONEY),
        ("updated_at", INSTANT),
        ("ingested_at", INSTANT),
    ]
)
LOGINS = pa.schema(
    [
        ("account_id", pa.string()),
        ("device_id", pa.string()),
        ("ip_country", pa.string()),
        ("occurred_at", INSTANT),
        ("ingested_at", INSTANT),
    ]
)
ACH_DEBITS = pa.schema(
    [
        ("payment_id", pa.string()),
        ("transaction_id", pa.string()),
        ("account_id", pa.string()),
        ("merchant_id", pa.string()),
        ("category", pa.string()),
        ("direction", pa.string()),
        ("amount", MONEY),
        ("currency", pa.string()),
        ("device_id", pa.string()),
        ("sec_code", pa.string()),
        ("settles_on", pa.date32()),
        ("initiated_at", INSTANT),
        ("ingested_at", INSTANT),
    ]
)
ACH_RETURNS = pa.schema(
    [
        ("payment_id", pa.string()),
        ("account_id", pa.string()),
        ("return_code", pa.string()),
        ("amount", MONEY),
        ("returned_at", INSTANT),
        ("ingested_at", INSTANT),
    ]
)
SCHEMAS = {
    "transactions": TRANSACTIONS,
    "profiles": PROFILES,
    "logins": LOGINS,
    "ach_debits": ACH_DEBITS,
    "ach_returns": ACH_RETURNS,
}
