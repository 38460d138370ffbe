"""How a ranking of transactions is judged: AUC ROC, average precision, card precision top-k.

Card precision top-k, as the handbook defines it (chapter 4, "Precision top-k metrics"): on each day the cards are
ranked by their highest score; of the k first, the share that had a fraud on that day counts; a card that was found
compromised is blocked and no longer ranked on later days; the result is the mean over the days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The three numbers, each in 0 to 1, larger is better."""

    auc_roc: float
    average_precision: float
    card_precision_100: float


def judge(day: Ints, card: Ints, score: Floats, fraud: Ints) -> Scores:
    """The three numbers for scored transactions.

    Shape: four arrays of n values, one for each transaction -> three numbers.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    return Scores(
        float(roc_auc_score(fraud, score)),
        float(average_precision_score(fraud, score)),
        card_precision(day, card, score, fraud, k=100),
    )


def card_precision(day: Ints, card: Ints, score: Floats, fraud: Ints, *, k: int) -> float:
    """The mean over the days of the share of compromised cards among the k most suspicious ones.

    Ties: of two cards with one score the smaller id comes first, so that the result is always the same.
    Empty: days with fewer than k cards still divide by k; no days give NaN.
    """
    blocked = np.zeros(0, np.int64)
    precisions: list[float] = []
    for today in np.unique(day):
        rows = (day == today) & ~np.isin(card, blocked)
        cards, scores, frauds = by_card(card[rows], score[rows], fraud[rows])
        first = np.argsort(-scores, kind="stable")[:k]
        found = cards[first[frauds[first] > 0]]
        precisions.append(found.size / k)
        blocked = np.concatenate([blocked, found])
    return float(np.mean(precisions)) if precisions else float("nan")


def by_card(card: Ints, score: Floats, fraud: Ints) -> tuple[Ints, Floats, Ints]:
    """The different cards in ascending order, with each one's highest score and whether it had a fraud."""
    cards, place = np.unique(card, return_inverse=True)
    scores = np.full(cards.size, -np.inf)
    np.maximum.at(scores, place, score)
    frauds = np.zeros(cards.size, np.int64)
    np.maximum.at(frauds, place, fraud)
    return cards, scores, frauds
