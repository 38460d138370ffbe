"""Models on features as known and with hindsight, judged by what each promises and by what it keeps.

Rows are split by time. Between training and test lies a gap as long as the label's horizon, since on the first day of
the test nobody knows whether the debits of the gap come back. The last 60 days before the cut-off are in neither part:
of their debits only those that came back already have a label, and a sample of these alone would be no sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from asof.clock import from_us, to_us
from asof.errors import DataError
from examples.ach_return_risk.matrix import matrix_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KNOWN, HINDSIGHT = "as known", "hindsight"
SCENARIOS = (
    (KNOWN, KNOWN),
    (HINDSIGHT, HINDSIGHT),
    (HINDSIGHT, KNOWN),
)  # features in training, features in use
WARM_UP, HORIZON, TEST = timedelta(days=30), timedelta(days=60), timedelta(days=75)
BOOSTING, LOGISTIC = "gradient boosting", "logistic regression"
RESAMPLES = 200
FEW_ROWS = 100_000  # below, a model is trained by one thread: handing work around takes longer than the work


@dataclass(frozen=True)
class Split:
    """Which rows train and which test, what came of them, and the times between which they lie."""

    train: Bools
    test: Bools
    returned: NDArray[np.int64]
    edges: tuple[datetime, datetime, datetime, datetime]

    def __str__(self) -> str:
        lines = []
        for name, rows, begin, end in (("train", self.train, 0, 1), ("test", self.test, 2, 3)):
            days = f"{self.edges[begin]:%Y-%m-%d} to {self.edges[end]:%Y-%m-%d}"
            lines.append(f"{name:<6}{days}: {rows.sum():,} debits, {self.returned[rows].sum():,} returned")
        return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """One model on features of one kind, used on features of one kind: its numbers and its scores of the test rows."""

    model: str
    trained: str
    used: str
    auc_roc: float
    average_precision: float
    average_precision_error: float  # standard error, by the bootstrap
    precision_top_1: float
    precision_top_5: float
    brier: float
    expected_per_actual: (
        float  # the sum of the scores over the number of returns: 1 is calibrated in the large
    )
    scores: Floats


def split_rows(table: pa.Table, cutoff: datetime) -> Split:
    """The split of a labelled training set.

    Raises:
        DataError: a part without returns, or without debits that were paid.
    """
    at = table["occurred_at"].cast(pa.int64()).to_numpy()
    returned = table["returned"].to_numpy()
    test_end = cutoff - HORIZON
    test_begin = test_end - TEST
    train_end = test_begin - HORIZON
    train_begin = from_us(int(at.min())) + WARM_UP if at.size else train_end
    edges = (train_begin, train_end, test_begin, test_end)
    train, test = (_between(at, *edges[:2]), _between(at, *edges[2:]))
    for name, rows in (("train", train), ("test", test)):
        if np.unique(returned[rows]).size < 2:
            raise DataError(f"{name}: no debit was returned, or all were", hint="simulate more --events")
    return Split(train, test, returned, edges)


def _between(at: NDArray[np.int64], begin: datetime, end: datetime) -> Bools:
    return (at >= to_us(begin)) & (at < to_us(end))


def models(*, quick: bool, seed: int) -> dict[str, Callable[[], Any]]:
    """The models by name; `quick` takes a fifth of the trees."""
    return {
        BOOSTING: lambda: HistGradientBoostingClassifier(
            max_iter=30 if quick else 150,
            learning_rate=0.06,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=1.0,
            random_state=seed,
        ),
        LOGISTIC: lambda: make_pipeline(
            SimpleImputer(strategy="constant", fill_value=0.0, add_indicator=True, keep_empty_features=True),
            FunctionTransformer(_signed_log),
            StandardScaler(),
            LogisticRegression(C=0.1, max_iter=1_000),
        ),
    }


def _signed_log(values: Floats) -> Floats:
    """Amounts span four powers of ten, and some are negative."""
    return np.sign(values) * np.log1p(np.abs(values))


def compare(
    tables: dict[str, pa.Table],
    split: Split,
    show: Callable[[str, str, int, int], None],
    *,
    quick: bool = False,
    seed: int = 0,
) -> list[Result]:
    """Every model in every scenario; `tables` are the training sets by kind, with the same rows."""
    inputs = {kind: matrix_of(table).values for kind, table in tables.items()}
    results: list[Result] = []
    with threadpool_limits(1 if split.train.sum() < FEW_ROWS else None):
        for name, make in models(quick=quick, seed=seed).items():
            fitted = {}
            for done, kind in enumerate(inputs):
                show("train", name, done, len(inputs))
                fitted[kind] = make().fit(inputs[kind][split.train], split.returned[split.train])
            show("train", name, len(inputs), len(inputs))
            for done, (trained, used) in enumerate(SCENARIOS, 1):
                scores = fitted[trained].predict_proba(inputs[used][split.test])[:, 1]
                results.append(judge(name, trained, used, scores, split.returned[split.test]))
                show("judge", name, done, len(SCENARIOS))
    return results


def judge(model: str, trained: str, used: str, scores: Floats, returned: NDArray[np.int64]) -> Result:
    """The numbers of a model from its scores of the test rows."""
    return Result(
        model,
        trained,
        used,
        float(roc_auc_score(returned, scores)),
        float(average_precision_score(returned, scores)),
        _standard_error(scores, returned),
        precision_at(scores, returned, 0.01),
        precision_at(scores, returned, 0.05),
        float(brier_score_loss(returned, scores)),
        float(scores.sum() / returned.sum()),
        scores,
    )


def precision_at(scores: Floats, returned: NDArray[np.int64], share: float) -> float:
    """The share of returned debits among this share of all with the highest scores (at least one debit)."""
    n = max(1, round(share * scores.size))
    return float(returned[np.argsort(-scores, kind="stable")[:n]].mean())


def _standard_error(scores: Floats, returned: NDArray[np.int64]) -> float:
    """Of the average precision: its spread over samples of the test rows, drawn with replacement."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, scores.size, scores.size)
        if returned[rows].any():
            found.append(average_precision_score(returned[rows], scores[rows]))
    return float(np.std(found))
