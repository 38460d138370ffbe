"""Three models on the handbook's split, beside the numbers that the handbook prints.

Split (chapter 3, "Baseline fraud detection system"): train on 2018-07-25 to 07-31, wait 7 days for the labels, test on
2018-08-08 to 08-14. A customer whose fraud is known on a test day is left out of it: known are frauds since the
start of training on days that ended at least 7 days before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from examples.fraud_handbook.metrics import Scores, judge

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

TRAIN_DAY = np.datetime64("2018-07-25")
TRAIN_DAYS, DELAY_DAYS, TEST_DAYS = 7, 7, 7

# Printed in chapter 3, "Performances using standard prediction models", table for the test set.
# Source: https://fraud-detection-handbook.github.io/fraud-detection-handbook/Chapter_3_GettingStarted/BaselineModeling.html
PUBLISHED = {
    "logistic regression": Scores(0.871, 0.606, 0.291),
    "random forest": Scores(0.867, 0.658, 0.287),
    "gradient boosting": Scores(0.862, 0.639, 0.273),  # by XGBoost there, by scikit-learn's histograms here
}


@dataclass(frozen=True)
class Split:
    """The rows to train on and those to test on, and what both are made of."""

    features: NDArray[np.float64]
    fraud: Ints
    day: Ints
    customer: Ints
    train: Bools
    test: Bools

    def __str__(self) -> str:
        parts = (("train", self.train), ("test", self.test))
        return ", ".join(
            f"{name}: {rows.sum():,} rows, {self.fraud[rows].sum():,} frauds" for name, rows in parts
        )


@dataclass(frozen=True)
class Result:
    """A model's numbers, the published ones, and how long it took to train."""

    model: str
    ours: Scores
    published: Scores
    train_s: float


def split_rows(table: pa.Table, columns: Sequence[str]) -> Split:
    """The handbook's split of a table of transactions with their features; `columns` are a model's inputs."""
    numbers = {name: table[name].to_numpy().astype(np.int64) for name in ("CUSTOMER_ID", "TX_FRAUD")}
    customer, fraud = numbers["CUSTOMER_ID"], numbers["TX_FRAUD"]
    day = (table["TX_DATETIME"].to_numpy().astype("datetime64[D]") - TRAIN_DAY).astype(np.int64)
    train = (day >= 0) & (day < TRAIN_DAYS)
    first_test = TRAIN_DAYS + DELAY_DAYS
    test = (day >= first_test) & (day < first_test + TEST_DAYS) & ~known_compromised(day, customer, fraud)
    features = np.column_stack([table[name].to_numpy().astype(np.float64) for name in columns])
    return Split(features, fraud, day, customer, train, test)


def known_compromised(day: Ints, customer: Ints, fraud: Ints) -> Bools:
    """For each row, whether a fraud of its customer since day 0 was known when the row's day began."""
    cards, place = np.unique(customer, return_inverse=True)
    first_fraud = np.full(cards.size, np.iinfo(np.int64).max - DELAY_DAYS)
    seen = (fraud == 1) & (day >= 0)
    np.minimum.at(first_fraud, place[seen], day[seen])
    return first_fraud[place] + DELAY_DAYS < day


def classifiers() -> dict[str, Callable[[], Any]]:
    """The models by name, with the library's own settings, as in the handbook."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(random_state=0)),
        "random forest": lambda: RandomForestClassifier(random_state=0, n_jobs=-1),
        "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    }


def compare(split: Split, told: Callable[[str], None]) -> list[Result]:
    """Train each model and judge it on the test rows; `told` is called with the name of the one that is at work."""
    results: list[Result] = []
    for name, make in classifiers().items():
        told(name)
        start = time.perf_counter()
        model = make().fit(split.features[split.train], split.fraud[split.train])
        train_s = time.perf_counter() - start
        score = model.predict_proba(split.features[split.test])[:, 1]
        rows = split.test
        scores = judge(split.day[rows], split.customer[rows], score, split.fraud[rows])
        results.append(Result(name, scores, PUBLISHED[name], train_s))
    return results


def format_table(results: Sequence[Result]) -> str:
    """The results as a text table; in brackets what the handbook prints."""
    head = f"{'model':<20} {'AUC ROC':>15} {'avg precision':>15} {'card prec@100':>15} {'train s':>8}"
    lines = [head, "-" * len(head)]
    for result in results:
        pairs = zip(vars(result.ours).values(), vars(result.published).values(), strict=True)
        cells = "".join(f"{f'{ours:.3f} ({book:.3f})':>16}" for ours, book in pairs)
        lines.append(f"{result.model:<20}{cells} {result.train_s:>8.1f}")
    return "\n".join([*lines, "In brackets: as printed in the handbook (its gradient boosting is XGBoost)."])
