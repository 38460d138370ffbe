"""The sample data of a new project: payments of a small bank over two months, the same rows every time."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime, timedelta

COLUMNS = ("payment_id", "account_id", "merchant", "amount", "status", "paid_at", "known_at")
_ACCOUNTS = ("ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ivy", "joe", "kim", "leo")
_MERCHANTS = {"grocer": 4_500, "fuel": 6_000, "hotel": 18_000, "phone": 3_500, "rent": 90_000, "loan": 25_000}
_START = datetime(2025, 1, 1, tzinfo=UTC)
_PAYMENTS = 180
_SECOND, _HOUR = timedelta(seconds=1), timedelta(hours=1)


def payments_csv() -> str:
    """The rows as CSV, in the order in which they became known.

    A payment is pending within seconds and posted in the night after next; a hotel posts another amount. One in nine
    comes back two days after that, one in thirty is void. One in twelve was not known before its batch file came.
    """
    rng = random.Random(2025)  # noqa: S311 - made-up rows
    rows: list[tuple[datetime, tuple[str, ...]]] = []
    for number in range(1, _PAYMENTS + 1):
        rows += _versions(rng, f"p{number:04}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row for _, row in sorted(rows))
    return text.getvalue()


def _versions(rng: random.Random, name: str) -> list[tuple[datetime, tuple[str, ...]]]:
    """The rows that one payment makes."""
    account, merchant = (
        _ACCOUNTS[rng.randrange(len(_ACCOUNTS))],
        list(_MERCHANTS)[rng.randrange(len(_MERCHANTS))],
    )
    cents = _MERCHANTS[merchant] * (50 + rng.randrange(101)) // 100
    paid = _START + timedelta(days=rng.randrange(59), seconds=6 * 3_600 + rng.randrange(60_000))
    night = paid.replace(hour=2, minute=0, second=0) + timedelta(days=2)
    chance = rng.randrange(180)
    late = chance % 12 == 0
    steps = [] if late else [("pending", cents, paid + _SECOND * (1 + rng.randrange(3)))]
    if chance % 30 == 7:
        steps.append(("void", cents, night - 12 * _HOUR))
    else:
        posted = cents * 115 // 100 if merchant == "hotel" else cents
        steps.append(("posted", posted, night))
        if chance % 9 == 4:
            steps.append(("returned", posted, night + 2 * timedelta(days=1) + 13 * _HOUR))
    return [
        (known, (name, account, merchant, _dollars(amount), status, _iso(paid), _iso(known)))
        for status, amount, known in steps
    ]


def _dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
