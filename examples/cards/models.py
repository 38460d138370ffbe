"""Who guesses the category best: the majority, look-ups, the words of a name, or a model of the histories.

Time runs forward: what is learned from ends 31 days before what is judged, since categories are known only then.

    until 2016-05-31   the words of merchants' names, for the model's own training
    2016-07 to 2017-05 the model's training
    until 2017-05-31   the majority, the frozen look-up, the words of names
    from 2017-07-01    the test
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from examples.cards.candidates import Candidates, build_candidates, category_book

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NEVER = -30.0  # the logarithm of a probability that is as good as none
WORDS = r"[a-z&']{2,}"


@dataclass(frozen=True)
class Split:
    """Which rows are for what."""

    words: Bools
    train: Bools
    past: Bools
    test: Bools


@dataclass(frozen=True)
class Result:
    """How good one way of guessing is on the test rows; macro-F1 over the categories that occur there."""

    model: str
    accuracy: float
    macro_f1: float


def split_rows(table: pa.Table) -> Split:
    """The rows by their dates, as told above."""
    day = table["trans_date"].to_numpy()
    words, train_from, past, test_from = (
        np.datetime64(text) for text in ("2016-06-01", "2016-07-01", "2017-06-01", "2017-07-01")
    )
    return Split(day < words, (day >= train_from) & (day < past), day < past, day >= test_from)


def compare(table: pa.Table, told: Callable[[str], None] = lambda _: None) -> list[Result]:
    """Every way of guessing, judged on the same test rows; `told` is called with the name of what is at work."""
    book = category_book(table)
    truth = pc.index_in(table["category"], value_set=pa.array(book)).to_numpy().astype(np.int64)
    split = split_rows(table)
    merchants = table["merchant"].to_pylist()
    majority = int(np.bincount(truth[split.past]).argmax())
    results: list[Result] = []

    def judge(name: str, guess: Ints) -> None:
        seen = truth[split.test]
        macro = f1_score(seen, guess, labels=np.unique(seen), average="macro", zero_division=0)
        results.append(Result(name, float(accuracy_score(seen, guess)), float(macro)))

    test = np.flatnonzero(split.test)
    judge("majority", np.full(test.size, majority))
    judge("merchant look-up, frozen", frozen_lookup(merchants, truth, split, majority))
    for name, columns in (
        ("merchant look-up, as of the day", ["merchant_top_365d"]),
        ("card at merchant, merchant, card", ["pair_top_365d", "merchant_top_365d", "card_top_365d"]),
    ):
        judge(name, top_of_day(table.take(test).select(columns), book, majority))
    told("words of the name")
    scores = name_scores(merchants, truth, split, len(book))
    judge("words of the name", scores[test].argmax(axis=1))
    told("histories and words")
    used = np.flatnonzero(split.train | split.test)
    candidates = build_candidates(table.take(used), book, scores[used])
    judge("histories and words", ranked(candidates, truth[used], split.test[used]))
    return results


def frozen_lookup(merchants: Sequence[str], truth: Ints, split: Split, majority: int) -> Ints:
    """Each merchant's commonest category in the past rows; the majority for a merchant that they do not have."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for row in np.flatnonzero(split.past):
        seen[merchants[row]][int(truth[row])] += 1
    common = {merchant: counts.most_common(1)[0][0] for merchant, counts in seen.items()}
    return np.array([common.get(merchants[row], majority) for row in np.flatnonzero(split.test)])


def top_of_day(columns: pa.Table, book: Sequence[str], majority: int) -> Ints:
    """The commonest category as of the day: of the first column that has one, else the majority."""
    guess = np.full(columns.num_rows, -1)
    for name in columns.column_names:
        numbers = [book.index(top[0]) if top else -1 for top in columns[name].to_pylist()]
        guess = np.where(guess < 0, numbers, guess)
    return np.where(guess < 0, majority, guess)


def name_scores(merchants: Sequence[str], truth: Ints, split: Split, size: int) -> Floats:
    """The logarithm of how probable the words of each merchant's name make each category: naive Bayes.

    Words and pairs of neighbours count. Training rows are scored by what was learned before them, as test rows are.
    """
    scores = np.full((len(merchants), size), NEVER)
    for learned, scored in ((split.words, split.train), (split.past, split.test)):
        rows = np.flatnonzero(scored)
        if rows.size == 0 or not learned.any():
            continue
        model = make_pipeline(
            CountVectorizer(token_pattern=WORDS, ngram_range=(1, 2), binary=True), MultinomialNB(alpha=0.1)
        )
        model.fit([merchants[row] for row in np.flatnonzero(learned)], truth[learned])
        scores[np.ix_(rows, model.classes_)] = model.predict_log_proba([merchants[row] for row in rows])
    return scores


def ranked(candidates: Candidates, truth: Ints, test: Bools) -> Ints:
    """The best candidate of each test row, by gradient boosting that learned from the others which are right."""
    right = candidates.category == truth[candidates.row]
    of_test = test[candidates.row]
    model = HistGradientBoostingClassifier(
        categorical_features=[candidates.names.index("category")], early_stopping=False, random_state=0
    )
    model.fit(candidates.features[~of_test], right[~of_test])
    score = np.full(right.size, -1.0)
    score[of_test] = model.predict_proba(candidates.features[of_test])[:, 1]
    return candidates.best(score, np.flatnonzero(test))


def format_table(results: Sequence[Result]) -> str:
    """The results as a text table."""
    lines = [f"{'guess by':<34} {'accuracy':>9} {'macro-F1':>9}"]
    lines += ["-" * len(lines[0])]
    lines += [f"{result.model:<34} {result.accuracy:>9.3f} {result.macro_f1:>9.3f}" for result in results]
    return "\n".join(lines)
