"""A service as the online store sees it: which records each of its views has, and the plan that reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from asof.compute.feature_types import feature_dtype
from asof.compute.read_plan import ReadPlan, ViewRead, build_plan
from asof.compute.record import Layout
from asof.define.aggregation import Feature
from asof.define.entity import Entity
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.errors import NotMaterialized
from asof.online.codec import Meta
from asof.registry.state import namespace_of
from asof.types import DType


@dataclass(frozen=True)
class OnlineView:
    """One view of a service: where its records lie, which of its features are asked, and their rows in the answer."""

    view: FeatureView
    namespace: str
    features: tuple[Feature, ...]
    rows: tuple[int, ...]
    own: bool

    @property
    def name(self) -> str:
        """The view's name."""
        return self.view.name


@dataclass(frozen=True)
class ServiceInfo:
    """What a client has to know of a service: its columns, and what a request brings.

    `views` and `features` say for each column which feature of which view it is ("" for a request feature).
    """

    name: str
    description: str
    owner: str
    names: tuple[str, ...]
    dtypes: tuple[DType, ...]
    views: tuple[str, ...]
    features: tuple[str, ...]
    keys: tuple[tuple[str, DType], ...]
    request: tuple[tuple[str, DType], ...]
    watermarks: Mapping[str, int]
    fingerprint: str


@dataclass(frozen=True)
class OnlineService:
    """A service with the layouts of its views' records, ready to be read.

    `columns` are the places in `row_names` of the service's columns: a request feature's inputs have rows beyond them.
    """

    service: FeatureService
    views: tuple[OnlineView, ...]
    layouts: tuple[Layout, ...]
    plan: ReadPlan
    row_names: tuple[str, ...]
    row_dtypes: tuple[DType, ...]
    row_views: tuple[int, ...]
    others: tuple[tuple[int, int], ...]  # (view, feature) that the kernels do not give
    entities: tuple[Entity, ...]
    entity_of: tuple[int, ...]  # for each view the place of its entity

    @cached_property
    def width(self) -> int:
        """The number of the service's columns."""
        return len(self.service.features)

    @cached_property
    def namespaces(self) -> tuple[tuple[str, int], ...]:
        """For each view its namespace and the place of its entity."""
        return tuple((view.namespace, place) for view, place in zip(self.views, self.entity_of, strict=True))

    @cached_property
    def view_names(self) -> tuple[str, ...]:
        """The names of the views in order."""
        return tuple(view.name for view in self.views)

    @cached_property
    def is_plain(self) -> bool:
        """True where the kernels give every column."""
        return not self.others and not self.plan.texts and -1 not in self.row_views

    @cached_property
    def own_names(self) -> tuple[tuple[str, ...], tuple[DType, ...], tuple[int, ...]]:
        """Names, types and views of the service's own columns."""
        return self.service.names, self.row_dtypes[: self.width], self.row_views[: self.width]


def online_views(service: FeatureService) -> tuple[tuple[OnlineView, ...], tuple[FeatureRef, ...]]:
    """The views of a service in order, and the features that only its request features take."""
    places: dict[FeatureView, list[tuple[Feature, int]]] = {}
    given: set[FeatureRef] = set()
    for row, item in enumerate(service.features):
        if isinstance(item, FeatureRef):
            places.setdefault(item.view, []).append((item.feature, row))
            given.add(item)
    inputs = tuple(ref for ref in service.refs if ref not in given)
    for row, ref in enumerate(inputs, len(service.features)):
        places.setdefault(ref.view, []).append((ref.feature, row))
    made = tuple(
        OnlineView(
            view,
            namespace_of(fingerprint(view)),
            tuple(feature for feature, _ in rows),
            tuple(row for _, row in rows),
            service.own_row == view.source,
        )
        for view, rows in places.items()
    )
    return made, inputs


def prepare(service: FeatureService, metas: Mapping[str, Meta]) -> OnlineService:
    """The service over what the store holds of its views.

    Raises:
        NotMaterialized: it holds nothing of a view; carries `view`.
    """
    views, inputs = online_views(service)
    layouts = tuple(_layout(view, metas) for view in views)
    rows = len(service.features) + len(inputs)
    reads = [
        ViewRead(layout, view.features, view.rows, view.own)
        for view, layout in zip(views, layouts, strict=True)
    ]
    plan = build_plan(reads, rows)
    dtypes, owners = [DType("float64")] * rows, [-1] * rows
    for v, (view, layout) in enumerate(zip(views, layouts, strict=True)):
        types = dict(layout.columns)
        for feature, row in zip(view.features, view.rows, strict=True):
            dtypes[row] = feature_dtype(feature, None if feature.column is None else types[feature.column])
            owners[row] = v
    for row, item in enumerate(service.features):
        if isinstance(item, RequestFeature):
            dtypes[row] = item.dtype
    names = (*service.names, *(ref.name for ref in inputs))
    others = tuple(
        (v, i) for v, folded in enumerate(plan.plain) for i, plain in enumerate(folded) if not plain
    )
    entities = service.entities
    entity_of = tuple(entities.index(view.view.entity) for view in views)
    return OnlineService(
        service, views, layouts, plan, names, tuple(dtypes), tuple(owners), others, entities, entity_of
    )


def _layout(view: OnlineView, metas: Mapping[str, Meta]) -> Layout:
    meta = metas.get(view.namespace)
    if meta is None:
        raise NotMaterialized(
            f"view {view.name!r}: the online store holds nothing of this version",
            hint=f"asof materialize --views {view.name}",
            view=view.name,
        )
    return meta.layout


def describe_service(
    made: OnlineService, request: Sequence[tuple[str, DType]], metas: Mapping[str, Meta]
) -> ServiceInfo:
    """What a client has to know of a service."""
    service = made.service
    items = service.features
    keys = dict(pair for entity in service.entities for pair in entity.keys)
    return ServiceInfo(
        name=service.name,
        description=service.description,
        owner=service.owner,
        names=service.names,
        dtypes=made.row_dtypes[: made.width],
        views=tuple(item.view.name if isinstance(item, FeatureRef) else "" for item in items),
        features=tuple(item.feature.name if isinstance(item, FeatureRef) else item.name for item in items),
        keys=tuple(keys.items()),
        request=tuple(request),
        watermarks={view.name: metas[view.namespace].watermark_us for view in made.views},
        fingerprint=fingerprint(service),
    )
