"""A history with the own rows of its queries: one for each group, behind the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pyarrow as pa

from asof.compute.arrays import EMPTY_INTS, Bools, Ints
from asof.compute.arrow import Column
from asof.compute.arrow_ops import places
from asof.compute.history import History
from asof.compute.record import KEY_HIGH, KEY_LOW


def with_own_rows(
    history: History,
    at: Ints,
    columns: Mapping[str, Column],
    predicates: Mapping[str, Bools],
    event_keys: tuple[Ints, Ints, Bools],
) -> History:
    """The history with an own row for each of its groups, known by the event key where it has one.

    Shape: `(groups,)` instants, columns and predicates; `event_keys` are two halves and which of them count.
    """
    groups = history.starts.size - 1
    low, high, keyed = event_keys
    codes = EMPTY_INTS
    if KEY_LOW in history.columns and keyed.any():
        group = np.repeat(np.arange(groups), np.diff(history.starts))
        kept_low, kept_high = history.columns[KEY_LOW], history.columns[KEY_HIGH]
        same = kept_low.valid & keyed[group]
        same &= (kept_low.values == low[group]) & (kept_high.values == high[group])
        codes = np.where(same, group, -1)
    return history.changed(
        event=np.concatenate([history.event, at]),
        known=history.known,
        columns={
            name: _longer(column, columns[name])
            for name, column in history.columns.items()
            if name in columns
        },
        predicates={sql: np.concatenate([mask, predicates[sql]]) for sql, mask in history.predicates.items()},
        own=groups,
        own_code=codes,
    )


def _longer(column: Column, own: Column) -> Column:
    valid = np.concatenate([column.valid, own.valid])
    if column.dictionary is None or own.dictionary is None:
        return replace(column, values=np.concatenate([column.values, own.values]), valid=valid)
    texts = {*_texts(column.dictionary), *_texts(own.dictionary)}
    dictionary = pa.array(sorted(texts), pa.string())
    values = np.concatenate([_recoded(column, dictionary), _recoded(own, dictionary)])
    return Column(column.dtype, values, valid, dictionary)


def _texts(dictionary: pa.Array) -> list[str]:
    return cast("list[str]", dictionary.to_pylist())


def _recoded(column: Column, dictionary: pa.Array) -> Ints:

    there = places(cast("pa.Array", column.dictionary), dictionary)
    return np.append(there, 0)[np.where(column.valid, column.values, there.size)]
