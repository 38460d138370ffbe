"""From histories to a table that a classifier reads: one row for each transaction and each category that it may have.

A transaction's candidates are the commonest and newest categories of its histories, and those that its merchant's name
suggests. A pair (transaction, category) is one integer, `row * categories + category`; the columns of the result are
arrays over pairs in ascending order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ENTITIES = ("pair", "merchant", "chain", "card")
NUMBERS = (
    "merchant_count_30d",
    "merchant_count_365d",
    "merchant_spend_365d",
    "merchant_mean_365d",
    "merchant_cards_365d",
    "card_count_30d",
    "card_count_365d",
    "card_spend_30d",
    "card_merchants_365d",
    "pair_coded_365d",
    "merchant_coded_365d",
    "chain_coded_365d",
    "card_coded_365d",
    "amount",
    "amount_vs_usual",
    "days_since_merchant",
)
NAME_CANDIDATES = 3


@dataclass(frozen=True)
class Candidates:
    """Pairs in ascending order, what is known of each (`features`), and the names of those columns."""

    row: Ints
    category: Ints
    features: Floats
    names: tuple[str, ...]

    def best(self, score: Floats, rows: Ints) -> Ints:
        """The category with the highest score for each of some rows, which all have candidates; ties: the first."""
        order = np.lexsort((-self.category, score, self.row))
        ends = np.flatnonzero(np.diff(self.row[order], append=-1))
        best = np.full(int(rows.max(initial=0)) + 1, -1)
        best[self.row[order][ends]] = self.category[order][ends]
        return best[rows]


@dataclass(frozen=True)
class _History:
    """A list or map column: its (transaction, category) pairs, sorted, and a value for each."""

    pairs: Ints
    values: Floats

    def of(self, pairs: Ints) -> Floats:
        """The value of each pair, 0 for one that is not in the history."""
        if self.pairs.size == 0:
            return np.zeros(pairs.size)
        place = np.minimum(np.searchsorted(self.pairs, pairs), self.pairs.size - 1)
        return np.where(self.pairs[place] == pairs, self.values[place], 0.0)


def category_book(table: pa.Table) -> list[str]:
    """All categories in a table of transactions and in their histories, in order."""
    lists = [f"{entity}_{kind}" for kind in ("top_365d", "newest") for entity in ENTITIES]
    columns = [table["category"], *(pc.list_flatten(table[name]) for name in lists)]
    columns += [pa.chunked_array([c.keys for c in table[f"{e}_categories_365d"].chunks]) for e in ENTITIES]
    found = {name for column in columns for name in pc.unique(column).to_pylist() if name is not None}
    return sorted(found)


def build_candidates(table: pa.Table, book: Sequence[str], name_scores: Floats) -> Candidates:
    """The candidates of a table's transactions and their features.

    Args:
        table: transactions with the features of the service `expense_category`.
        book: all categories; a category's number is its place here.
        name_scores: `(rows, categories)`, how much a merchant's name speaks for each category.
    """
    shares, places = _shares(table, book), _places(table, book)
    pairs = np.unique(np.concatenate([place.pairs for place in places.values()] + [_named(name_scores)]))
    row, category = np.divmod(pairs, len(book))
    columns = {name: history.of(pairs) for name, history in (shares | places).items()}
    columns |= {name: _number(table[name])[row] for name in NUMBERS}
    columns |= {"name_score": name_scores[row, category], "category": category.astype(np.float64)}
    return Candidates(row, category, np.column_stack(list(columns.values())), tuple(columns))


def _named(name_scores: Floats) -> Ints:
    rows, categories = name_scores.shape
    first = np.argsort(-name_scores, axis=1, kind="stable")[:, :NAME_CANDIDATES]
    return (np.arange(rows)[:, None] * categories + first).ravel()


def _shares(table: pa.Table, book: Sequence[str]) -> dict[str, _History]:
    """For each entity, the share of each category in its year."""
    found: dict[str, _History] = {}
    for entity in ENTITIES:
        year = table[f"{entity}_categories_365d"].combine_chunks()
        row, pairs = _pairs(year.offsets, year.keys, book)
        counts = year.items.to_numpy().astype(np.float64)
        found[f"{entity}_share"] = _sorted(pairs, counts / np.bincount(row, counts)[row])
    return found


def _places(table: pa.Table, book: Sequence[str]) -> dict[str, _History]:
    """For each entity, the places of its commonest and of its newest categories: 1, 1/2, 1/3."""
    found: dict[str, _History] = {}
    for name in (f"{entity}_{kind}" for kind in ("top_365d", "newest") for entity in ENTITIES):
        ranked = table[name].combine_chunks()
        row, pairs = _pairs(ranked.offsets, ranked.values, book)
        starts = ranked.offsets.to_numpy()[:-1]
        found[name] = _sorted(pairs, 1 / (1 + np.arange(row.size) - starts[row]))
    return found


def _pairs(offsets: pa.Array, categories: pa.Array, book: Sequence[str]) -> tuple[Ints, Ints]:
    """The row of each item of a list or map column, and its pair."""
    lengths = np.diff(offsets.to_numpy())
    row = np.repeat(np.arange(lengths.size), lengths)
    number = pc.index_in(categories, value_set=pa.array(book)).to_numpy().astype(np.int64)
    return row, row * len(book) + number


def _sorted(pairs: Ints, values: Floats) -> _History:
    """A pair that stands twice keeps its first value: of the newest categories, the newer place."""
    unique, first = np.unique(pairs, return_index=True)
    return _History(unique, values[first])


def _number(column: pa.ChunkedArray) -> Floats:
    return pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy()
