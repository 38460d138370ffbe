"""`simulate`: draws the parts of a bank in order and returns its tables.

The invariant: each part has a random stream of its own, spawned from the seed, so that the same arguments give the
same bytes (with the same versions of NumPy and PyArrow) and a change in one part leaves the other parts' draws alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from asof.errors import DefinitionError
from asof.testing.bank.columns import HOUR_US, MINUTE_US, NONE, whole_ms
from asof.testing.bank.devices import Logins, draw_devices, draw_logins, draw_sessions
from asof.testing.bank.extract import Bank
from asof.testing.bank.flows import Flow, draw_batch_us, draw_daytime_us, draw_lateness_us, plain_flow
from asof.testing.bank.ledger import Outcome, run_ledger
from asof.testing.bank.payments import (
    Debits,
    draw_bill_debits,
    draw_bills,
    draw_income,
    draw_single_debits,
    monthly_budget,
)
from asof.testing.bank.population import Accounts, Period, draw_accounts, draw_merchants
from asof.testing.bank.profiles import draw_profiles
from asof.testing.bank.purchases import draw_purchases
from asof.testing.bank.returns import debits_as_transactions, draw_returns
from asof.testing.bank.revisions import number_transactions, write_versions
from asof.testing.bank.schema import FEE, TRANSFER
from asof.testing.bank.tables import (
    debits_table,
    logins_table,
    number_payments,
    profiles_table,
    returns_table,
    transactions_table,
)
from asof.testing.bank.takeover import draw_episodes, draw_stolen_debits, draw_stolen_purchases

DAYS = 180
ROWS_PER_ACCOUNT_DAY = 3.45
MAX_ROWS = 150_000_000
_PARTS = [
    "accounts",
    "merchants",
    "devices",
    "income",
    "bills",
    "bill_debits",
    "single_debits",
    "purchases",
    "episodes",
    "stolen_debits",
    "stolen_purchases",
    "logins",
    "sessions",
    "ledger",
    "returns",
    "transactions",
    "moves",
    "versions",
    "profiles",
]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def size_for_events(events: int, days: int | None = None) -> tuple[int, int]:
    """How many accounts, over how many days, give about that many rows of transactions.

    Example:
        >>> size_for_events(1_000_000)
        (1610, 180)

    Raises:
        DefinitionError: events or days are not positive.
    """
    _check_positive("events", events)
    if days is None:
        days = DAYS if events >= 50_000 else 60
    _check_positive("days", days)
    return max(1, round(events / (days * ROWS_PER_ACCOUNT_DAY))), days


def simulate(
    *,
    accounts: int | None = None,
    days: int | None = None,
    events: int | None = None,
    seed: int = 0,
    start: str | date = "2024-01-01",
) -> Bank:
    """A bank of that many accounts over that many days, or of about that many rows of transactions.

    Defaults: 1,000 accounts, 180 days. Say `events` in place of `accounts`. The same arguments give the same bytes,
    with the same versions of NumPy and PyArrow.

    Raises:
        DefinitionError: a size is not positive or too large, the start is no date, or accounts and events are both
            given.
        DataError: the period leaves the years of the banking calendar (1990 to 2100).

    Example:
        >>> bank = simulate(accounts=50, days=60, seed=7)
        >>> bank.transactions.num_rows > 5_000, bank.ach_debits.num_rows > 100
        (True, True)
        >>> bank.transactions.schema.field("amount").type
        Decimal128Type(decimal128(18, 2))
        >>> bank == simulate(accounts=50, days=60, seed=7)
        True
    """
    if events is not None:
        if accounts is not None:
            raise DefinitionError("bank simulator: accounts and events both given", hint="give one of them")
        accounts, days = size_for_events(events, days)
    accounts, days = 1_000 if accounts is None else accounts, DAYS if days is None else days
    _check_positive("accounts", accounts)
    _check_positive("days", days)
    _check_size(accounts, days)
    period = Period((_parse_start(start) - _EPOCH.date()).days, days)
    streams = np.random.SeedSequence(_checked_seed(seed)).spawn(len(_PARTS))
    rng = {part: np.random.default_rng(stream) for part, stream in zip(_PARTS, streams, strict=True)}
    return _simulate(accounts, period, rng)


def _simulate(count: int, period: Period, rng: Mapping[str, np.random.Generator]) -> Bank:
    accounts = draw_accounts(count, period, rng["accounts"])
    happened = _plan(accounts, period, rng)
    outcome = run_ledger(
        accounts, period, happened.income, happened.purchases, happened.debits, rng["ledger"]
    )
    return _extract(accounts, period, happened, outcome, rng)


@dataclass(frozen=True)
class _Plan:
    """What is tried on all accounts, before the ledger has its say."""

    income: Flow
    purchases: Flow
    debits: Debits
    logins: Logins


def _plan(accounts: Accounts, period: Period, rng: Mapping[str, np.random.Generator]) -> _Plan:
    merchants = draw_merchants(len(accounts), rng["merchants"])
    episodes = draw_episodes(accounts, period, rng["episodes"])
    devices = draw_devices(accounts, len(episodes), rng["devices"])
    income = draw_income(accounts, period, rng["income"])
    bills = draw_bills(accounts, merchants, rng["bills"])
    stolen, thieves = draw_stolen_debits(accounts, episodes, period, merchants, devices, rng["stolen_debits"])
    single = draw_single_debits(accounts, period, merchants, devices, rng["single_debits"])
    purchases = draw_purchases(
        accounts,
        period,
        merchants,
        devices,
        monthly_budget(accounts, bills),
        (income.account, income.day),
        rng["purchases"],
    )
    elsewhere = draw_stolen_purchases(accounts, episodes, period, merchants, devices, rng["stolen_purchases"])
    return _Plan(
        income=income,
        purchases=Flow.join([purchases, elsewhere]),
        debits=Debits.join([draw_bill_debits(accounts, bills, period, rng["bill_debits"]), single, stolen]),
        logins=Logins.join(
            [
                draw_logins(accounts, period, devices, rng["logins"]),
                _sign_ins(single, rng["sessions"]),
                thieves,
            ]
        ),
    )


def _sign_ins(debits: Debits, rng: np.random.Generator) -> Logins:
    """Sign-ins of customers before four of five debits that they start online."""
    online = debits.take((debits.device != NONE) & (rng.random(len(debits)) < 0.8))
    return draw_sessions(online.account, online.device, online.initiated_us, rng, abroad=0.02)


def _extract(
    accounts: Accounts, period: Period, plan: _Plan, outcome: Outcome, rng: Mapping[str, np.random.Generator]
) -> Bank:
    returns = draw_returns(plan.debits, outcome.code, period, rng["returns"])
    debits = debits_as_transactions(plan.debits, outcome.code, returns, period, rng["transactions"])
    flow = Flow.join(
        [debits, plan.income, plan.purchases.take(~outcome.declined), *_moved(outcome, period, rng["moves"])]
    )
    transaction, payment = number_transactions(flow), number_payments(plan.debits)
    versions = write_versions(flow, period.end_us, rng["versions"])
    cut = returns.take(returns.returned_us < period.end_us)
    profiles = draw_profiles(
        accounts, period, plan.debits.account[cut.debit], cut.returned_us, rng["profiles"]
    )
    return Bank(
        transactions=transactions_table(flow, transaction, versions),
        profiles=profiles_table(accounts, period, profiles),
        logins=logins_table(plan.logins, period.end_us),
        ach_debits=debits_table(plan.debits, payment, debits, transaction[: len(debits)], period),
        ach_returns=returns_table(plan.debits, payment, returns, period.end_us),
        extracted_at=_EPOCH + timedelta(microseconds=period.end_us),
    )


def _moved(outcome: Outcome, period: Period, rng: np.random.Generator) -> tuple[Flow, Flow]:
    """Transfers, known within the day, and fees, taken in the evening and known from the batch of the next day."""
    transfers, fees = outcome.transfers, outcome.fees
    count = len(transfers)
    moved_us = period.midnight_us(transfers.day) + draw_daytime_us(count, rng)
    charged_us = period.midnight_us(fees.day) + whole_ms(
        20 * HOUR_US + 60 * MINUTE_US * rng.random(len(fees))
    )
    return (
        plain_flow(
            transfers.account,
            transfers.day,
            moved_us,
            TRANSFER,
            np.abs(transfers.cents),
            credit=transfers.cents > 0,
            known_us=moved_us + draw_lateness_us(count, rng),
        ),
        plain_flow(
            fees.account,
            fees.day,
            charged_us,
            FEE,
            np.abs(fees.cents),
            credit=np.zeros(len(fees), dtype=np.bool_),
            known_us=draw_batch_us(period, fees.day + 1, rng),
        ),
    )


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise DefinitionError(
            f"bank simulator: {name} is {value}, must be at least 1", name=name, value=value
        )


def _check_size(accounts: int, days: int) -> None:
    """The text of one column must stay below 2 GB, where Arrow strings end."""
    rows = round(accounts * days * ROWS_PER_ACCOUNT_DAY)
    if rows > MAX_ROWS:
        raise DefinitionError(
            f"bank simulator: about {rows:,} rows of transactions, at most {MAX_ROWS:,} at a time",
            hint="write several banks with different seeds",
            rows=rows,
            limit=MAX_ROWS,
        )


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise DefinitionError(f"bank simulator: seed is {seed}, must be at least 0", name="seed", value=seed)
    return seed


def _parse_start(start: str | date) -> date:
    if isinstance(start, date):
        return start.date() if isinstance(start, datetime) else start
    try:
        return date.fromisoformat(start)
    except ValueError as error:
        raise DefinitionError(
            f"bank simulator: start {start!r} is no date", hint="a date such as '2024-01-01'", start=start
        ) from error
