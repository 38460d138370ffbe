"""Fast against naive: compute a training set both ways and compare every value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa

import asof
from asof.define.feature_view import FeatureRef
from asof.define.service import FeatureService
from asof.errors import NumericOverflow
from asof.testing.generated import same
from asof.testing.generated.naive import Needed
from asof.testing.oracle import training_set
from tests.equality.definitions import oracle_rows, own_rows
from tests.equality.strategies import EPOCH

OVERFLOW = "overflow"


def check(
    service: FeatureService, spine: pa.Table, *, as_known: bool = True, cutoff_us: int | None = None
) -> None:
    """The training set has the oracle's values, column by column, and fails with an overflow where the oracle does."""
    slow = by_oracle(service, spine, as_known=as_known, cutoff_us=cutoff_us)
    fast = by_project(service, spine, as_known=as_known, cutoff_us=cutoff_us)
    if isinstance(slow, str) or isinstance(fast, str):
        assert fast == slow
        return
    assert fast.num_rows == len(spine)
    assert repr(fast.select(spine.column_names).to_pylist()) == repr(spine.to_pylist())  # NaN is NaN here
    for ref in (item for item in service.features if isinstance(item, FeatureRef)):
        found = fast[ref.name].to_pylist()
        expected = [line[ref.name] for line in slow]
        for row, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert same(ref.feature, one, other), (
                f"{ref.name}, row {row}: {one!r}, not {other!r}: {ref.feature}"
            )


def by_project(service: FeatureService, spine: pa.Table, *, as_known: bool, cutoff_us: int | None) -> Any:
    """The training set as a user gets it: a table, or OVERFLOW."""
    project = asof.Project(objects=[service])
    cutoff = None if cutoff_us is None else instant(cutoff_us)
    try:
        return project.training_set(service, spine=spine, as_known=as_known, cutoff=cutoff).table
    except NumericOverflow:
        return OVERFLOW


def by_oracle(service: FeatureService, spine: pa.Table, *, as_known: bool, cutoff_us: int | None) -> Any:
    """The same from the oracle: dicts, or OVERFLOW."""
    rows, own = {}, {}
    for view in {ref.view.name: ref.view for ref in service.refs}.values():
        read = Needed.by(view.features)
        names = view.entity.keys.names
        keys = [dict(view.keys).get(name, name) for name in names]
        rows[view.name] = oracle_rows(view.source, keys, read.columns, read.predicates)
        if view.source == service.own_row:
            own[view.name] = own_rows(spine, view.source, names, read.columns, read.predicates)
    asked = [{**line, "event_time": micros(line["event_time"])} for line in spine.to_pylist()]
    try:
        return training_set(
            service, rows, asked, as_known=as_known, cutoff_us=cutoff_us, own_rows=own or None
        )
    except NumericOverflow:
        return OVERFLOW


def instant(us: int) -> Any:
    return EPOCH + timedelta(microseconds=us)


def micros(when: Any) -> int | None:
    if when is None:
        return None
    return round((when - EPOCH).total_seconds() * 1_000_000)
