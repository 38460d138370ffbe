"""Entities for a check of skew without a log: a sample of those that the sources' histories name."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from asof.define.feature_view import FeatureView
from asof.define.service import FeatureService
from asof.define.source import parts_of
from asof.engines.scan import Engine, Scan
from asof.errors import DataError
from asof.usage import Run

if TYPE_CHECKING:
    from asof.flows.project import Project

_BATCH = 100_000


def sample_entities(project: Project, service: FeatureService, rows: int) -> dict[str, list[Any]]:
    """Key columns of so many entities (fewer, where there are fewer) that the sources' histories name: always the same
    ones of the same histories, spread over all of them.

    Raises:
        DataError: a read of the service needs request columns, which no history tells.
    """
    if service.request or service.own_row is not None:
        raise DataError(
            f"service {service.name!r} is asked with request columns, and entities alone are no sample of that",
            hint="replay a log: asof skew SERVICE --log FOLDER",
            service=service.name,
        )
    engine = project.engine()
    found: dict[str, list[Any]] = {}
    try:
        with project.meter.run("skew") as run:
            views = {ref.view.entity: ref.view for ref in service.refs}
            for entity in sorted(views, key=lambda each: -len(each.keys.names)):
                sampled = _sample_view(engine, views[entity], rows, run)
                for place, name in enumerate(entity.keys.names):
                    found.setdefault(name, [key[place] for key in sampled])
    finally:
        engine.close()
    size = max(map(len, found.values()), default=0)
    return {name: [values[i % len(values)] for i in range(size)] for name, values in found.items() if values}


def _sample_view(engine: Engine, view: FeatureView, rows: int, run: Run) -> list[tuple[Any, ...]]:
    from_history: dict[tuple[Any, ...], int] = {}
    mapped = dict(view.keys)
    key_sql = tuple((mapped.get(name, name), dtype) for name, dtype in view.entity.keys)
    for part in parts_of(view.source):
        with run.stage("read", asset=part.source.name) as stage:
            for batch in engine.read(Scan(part, key_sql, (), ()), _BATCH)[1]:
                stage.rows += batch.num_rows
                _add_keys(from_history, batch, len(key_sql))
                if len(from_history) > 4 * rows:
                    _keep_least(from_history, rows)
    _keep_least(from_history, rows)
    return sorted(from_history, key=repr)


def _add_keys(found: dict[tuple[Any, ...], int], batch: pa.RecordBatch, keys: int) -> None:
    """The different keys of a batch, each with a number that is the same in every run."""
    names = [f"k{place}" for place in range(keys)]
    distinct = pa.table({name: batch.column(name) for name in names}).group_by(names).aggregate([])
    for row in distinct.to_pylist():
        key = tuple(row[name] for name in names)
        if None not in key and key not in found:
            digest = blake2b(repr(key).encode(), digest_size=8).digest()
            found[key] = int.from_bytes(digest, "little")


def _keep_least(found: dict[tuple[Any, ...], int], rows: int) -> None:
    kept = sorted(found.items(), key=lambda pair: pair[1])[:rows]
    found.clear()
    found.update(kept)
