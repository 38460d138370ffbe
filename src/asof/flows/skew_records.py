"""What the online store holds of an entity, as rows: the record beside a value that differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa

from asof.clock import from_us
from asof.compute.arrow import physical_to_arrow
from asof.compute.record import KEY_HIGH, KEY_LOW, join, unpack_history
from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.window import END_US
from asof.online.codec import Meta
from asof.online.keys import encode_keys
from asof.online.store import META_KEY, OnlineStore
from asof.registry.state import namespace_of

MOST_ROWS = 50


def record_rows(
    store: OnlineStore, view: FeatureView, keys: Mapping[str, object]
) -> list[dict[str, Any]] | None:
    """The newest rows of an entity's record, newest last, with the times at which they count; None without a record.

    Raises:
        DataError: the record is corrupt. BackendError: the store failed.
    """
    namespace = namespace_of(fingerprint(view))
    values = [[keys.get(name)] for name in view.entity.keys.names]
    if any(value is None for (value,) in values):
        return None
    key = encode_keys([dtype.kind for _, dtype in view.entity.keys], values)[0]
    meta, record = store.get([(namespace, [META_KEY, key])])
    if meta is None or record is None:
        return None
    history = unpack_history(*join([record]), Meta.parse(meta).layout)
    start = max(0, history.size - MOST_ROWS)
    until = history.until[start:] if history.until.size else np.full(history.size - start, END_US)
    columns: dict[str, list[Any]] = {
        "event_time": [from_us(us) for us in cast("list[int]", history.event[start:].tolist())],
        "known_at": [from_us(us) for us in cast("list[int]", history.known[start:].tolist())],
        "superseded_at": [None if us == END_US else from_us(us) for us in cast("list[int]", until.tolist())],
    }
    for name, column in history.columns.items():
        if name not in {KEY_LOW, KEY_HIGH}:
            part = column.values[start:], column.valid[start:]
            columns[name] = physical_to_arrow(column.dtype, *part, column.dictionary).to_pylist()
    for sql, mask in history.predicates.items():
        columns[sql] = pa.array(mask[start:]).to_pylist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
