"""Training sets: spine rows with the features and labels that were known as of their times.

The flow: load the spine, group the features by source and entity, let each group's history be read and folded
(`feature_columns.py`, or `latest.py` where no sort is needed), run request features, add labels, drop what is
immature, report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asof.clock import to_us
from asof.compute.windows import as_known_at
from asof.define.feature_view import FeatureRef
from asof.define.label import Label
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.source import Events, InMemory, parts_of
from asof.engines.scan import Engine
from asof.errors import DefinitionError, UnknownName, did_you_mean
from asof.flows.feature_columns import Asked, GroupColumns, Progress, Settings, asked_of, group_columns
from asof.flows.groups import FeatureId, Group, group_features
from asof.flows.labels import LabelColumn, label_column
from asof.flows.latest import latest_columns
from asof.flows.manifest import FORMAT, Manifest, definitions_of, sources_of
from asof.flows.own_rows import own_table
from asof.flows.report import FeatureReport, LabelReport, Report, SourceReport, StageReport
from asof.flows.request import request_column
from asof.flows.result import TrainingSet
from asof.flows.spine import Spine, SpineLike, load_spine
from asof.usage import Run

Immature = Literal["drop", "null", "negative"]
IMMATURE = ("drop", "null", "negative")


@dataclass(frozen=True)
class Request:
    """What is asked for: see `Project.training_set`."""

    service: FeatureService
    spine: SpineLike
    labels: tuple[Label, ...] = ()
    time: str | None = None
    row_id: str | None = None
    as_known: bool = True
    cutoff: datetime | None = None
    immature: Immature = "drop"


@dataclass(frozen=True)
class Resources:
    """With what it is computed: threads, memory, a folder for what does not fit."""

    threads: int
    memory_bytes: int
    spill_dir: str
    version: str
    now_us: int


@dataclass
class _Made:
    """The columns made so far."""

    columns: dict[FeatureId, pa.Array]
    features: list[FeatureReport]
    sources: list[SourceReport]


def build_training_set(
    engine: Engine, request: Request, resources: Resources, run: Run, progress: Progress
) -> TrainingSet:
    """The training set of a request; see `Project.training_set` for what it holds and raises."""
    _check(request)
    with run.stage("spine") as stage:
        spine = load_spine(
            request.spine, engine, time=request.time, row_id=request.row_id, zoned_sources=_zoned(request)
        )
        stage.rows += spine.size
    _check_names(request, spine)
    cutoff_us = None if request.cutoff is None else to_us(request.cutoff)
    settings = Settings(
        request.as_known,
        cutoff_us,
        resources.threads,
        resources.memory_bytes,
        resources.spill_dir,
        run,
        progress,
    )
    made = _view_columns(engine, request.service, spine, settings)
    features = _service_columns(request.service, spine, made)
    label_cutoff = resources.now_us if cutoff_us is None else cutoff_us
    labels = {
        label.name: label_column(engine, label, spine, label_cutoff, settings) for label in request.labels
    }
    with run.stage("assemble") as stage:
        table, keep = _assemble(request, spine, features, labels)
        stage.rows += table.num_rows
        stage.bytes += table.nbytes
    manifest = _manifest(
        engine, request, resources, spine, table, label_cutoff if request.labels else cutoff_us
    )
    report = _report(request, spine, features, made, labels, keep, run)
    return TrainingSet(table, report, manifest)


def service_of(features: FeatureService | Sequence[Any]) -> FeatureService:
    """The service itself, or an unnamed one of a list of views and features."""
    if isinstance(features, FeatureService):
        return features
    return FeatureService("features", list(features))


def _check(request: Request) -> None:
    if request.immature not in IMMATURE:
        raise UnknownName(
            f"immature={request.immature!r} is not one of {', '.join(IMMATURE)}",
            hint=did_you_mean(str(request.immature), IMMATURE),
        )
    by_name: dict[str, Events] = {}
    sources = [r.view.source for r in request.service.refs] + [label.source for label in request.labels]
    for part in (part for source in sources for part in parts_of(source)):
        if by_name.setdefault(part.source.name, part.source) != part.source:
            raise DefinitionError(f"two different sources are named {part.source.name!r}", hint="rename one")


def _zoned(request: Request) -> list[str]:
    sources = [r.view.source for r in request.service.refs] + [label.source for label in request.labels]
    return [p.source.name for source in sources for p in parts_of(source) if p.source.zone is not None]


def _check_names(request: Request, spine: Spine) -> None:
    taken = set(spine.table.column_names)
    for name in (*request.service.names, *(label.name for label in request.labels)):
        if name in taken:
            raise DefinitionError(
                f"column {name!r} stands twice in the training set",
                hint="rename it in the spine, or take the feature as view[...].named(...)",
                column=name,
            )
        taken.add(name)


def _view_columns(engine: Engine, service: FeatureService, spine: Spine, settings: Settings) -> _Made:
    made = _Made({}, [], [])
    as_known = as_known_at(spine.at, as_known=settings.as_known, cutoff_us=settings.cutoff_us)
    for group in group_features(service.refs):
        asked = asked_of(group, spine, as_known, f"entity {group.entity.name!r}")
        if group.streams:
            found = latest_columns(engine, group, asked, settings)
        else:
            if service.own_row == group.source:
                asked = _with_own(engine, group, spine, asked)
            found = group_columns(engine, group, asked, settings)
        made.columns |= found.columns
        _note(made, group, found)
    return made


def _with_own(engine: Engine, group: Group, spine: Spine, asked: Asked) -> Asked:
    own = own_table(engine, group, spine)
    return Asked(asked.keys, asked.at, asked.as_known, asked.usable, own, asked.ends)


def _note(made: _Made, group: Group, found: GroupColumns) -> None:
    stats = found.stats
    made.sources.append(
        SourceReport(
            group.source.name,
            group.entity.name,
            stats.rows,
            stats.size_bytes,
            stats.without_key,
            stats.without_event_time,
            stats.without_known_at,
            found.late,
            found.missing,
        )
    )
    for (view, name), column in found.columns.items():
        hidden, affected = found.hidden.get((view, name), (0, 0))
        made.features.append(FeatureReport(name, view, _null_share(column), hidden, affected))


def _null_share(column: pa.Array | pa.ChunkedArray) -> float:
    return column.null_count / len(column) if len(column) else 0.0


def _service_columns(service: FeatureService, spine: Spine, made: _Made) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for item in service.features:
        if isinstance(item, FeatureRef):
            columns[item.name] = made.columns[item.view.name, item.feature.name]
            continue
        inputs: dict[str, pa.Array] = {
            ref.name: made.columns[ref.view.name, ref.feature.name] for ref in item.inputs
        }
        for name, dtype in item.request:
            inputs[name] = spine.key(name, dtype, f"request feature {item.name!r}").combine_chunks()
        columns[item.name] = request_column(item, inputs, spine.at, spine.size)
    return columns


def _assemble(
    request: Request, spine: Spine, features: Mapping[str, pa.Array], labels: Mapping[str, LabelColumn]
) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.bool_]]]:
    table = spine.table.replace_schema_metadata(None)
    for name, column in features.items():
        table = table.append_column(name, column)
    keep = np.ones(spine.size, np.bool_)
    for name, label in labels.items():
        values = label.values
        if request.immature == "null":
            values = pc.if_else(pa.array(label.mature), values, pa.scalar(None, values.type))
        elif request.immature == "drop":
            keep &= label.mature
        table = table.append_column(name, values)
    return (table if keep.all() else table.filter(pa.array(keep))), keep


def _manifest(
    engine: Engine,
    request: Request,
    resources: Resources,
    spine: Spine,
    table: pa.Table,
    cutoff_us: int | None,
) -> Manifest:
    held = Events("spine", InMemory(spine.table, "spine"), event_time=spine.time)
    shot = engine.snapshots(held)[0]
    return Manifest(
        format=FORMAT,
        asof_version=resources.version,
        service=request.service.name,
        definitions=definitions_of(request.service, request.labels),
        sources=sources_of(engine, request.service, request.labels),
        spine={"rows": spine.size, "digest": shot.digest, "time": spine.time},
        options={"as_known": request.as_known, "cutoff_us": cutoff_us, "immature": request.immature},
        rows=table.num_rows,
        columns={field.name: str(field.type) for field in table.schema},
    )


def _report(
    request: Request,
    spine: Spine,
    features: Mapping[str, pa.Array],
    made: _Made,
    labels: Mapping[str, LabelColumn],
    keep: np.ndarray[Any, np.dtype[np.bool_]],
    run: Run,
) -> Report:
    keys = {name: dtype for entity in request.service.entities for name, dtype in entity.keys}
    without_key = np.zeros(spine.size, np.bool_)
    for name in keys:
        without_key |= spine.table[name].is_null().to_numpy()
    requested = [
        FeatureReport(item.name, "request", _null_share(features[item.name]))
        for item in request.service.features
        if isinstance(item, RequestFeature)
    ]
    return Report(
        service=request.service.name,
        spine_rows=spine.size,
        rows=int(keep.sum()),
        rows_without_key=int(without_key.sum()),
        rows_without_time=int((~spine.valid).sum()),
        features=(*made.features, *requested),
        sources=tuple(made.sources),
        labels=tuple(_label_report(name, label) for name, label in labels.items()),
        stages=tuple(
            StageReport(e.stage, e.asset, e.rows, e.bytes, e.seconds, e.cpu_seconds) for e in run.events
        ),
    )


def _label_report(name: str, label: LabelColumn) -> LabelReport:
    mature = int(label.mature.sum())
    share = None
    if mature and pa.types.is_integer(label.values.type):
        share = float((label.values.to_numpy(zero_copy_only=False)[label.mature] > 0).mean())
    return LabelReport(name, mature, int(label.mature.size) - mature, share, label.early)
