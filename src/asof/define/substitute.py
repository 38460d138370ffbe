"""Definitions over other histories: the same features, with each source's rows replaced.

Tests stand on this: a case brings its own events, and so do generated histories. Everything else of a definition
stays as it is, whatever fields its record has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.label import Label
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.source import Events, Mapped, Union

Record = TypeVar("Record")


def changed(record: Record, **facts: object) -> Record:
    """A copy of a definition with other values in some of its fields; nothing is checked again.

    Example:
        >>> from asof.define.entity import Entity
        >>> changed(Entity("account", keys={"id": "string"}), name="card").name
        'card'
    """
    made = object.__new__(type(record))
    for name, value in {**vars(record), **facts}.items():
        object.__setattr__(made, name, value)
    return made


class Substitution:
    """Definitions with other sources: source name -> the source that takes its place.

    What was one view or one source is one afterwards, so that definitions still fit each other. A source that is
    not named stays.
    """

    def __init__(self, sources: Mapping[str, Events]) -> None:
        self._sources = sources
        self._views: dict[FeatureView, FeatureView] = {}

    def source(self, source: Events | Union) -> Events | Union:
        """The source, or the union with its parts replaced."""
        if isinstance(source, Events):
            return self._sources.get(source.name, source)
        parts = tuple(changed(part, source=self._part(part)) for part in source.sources)
        return changed(source, sources=parts)

    def view(self, view: FeatureView) -> FeatureView:
        """The view over other rows."""
        found = self._views.get(view)
        if found is None:
            found = changed(view, source=self.source(view.source))
            self._views[view] = found
        return found

    def label(self, label: Label) -> Label:
        """The label over other rows."""
        return changed(label, source=self.source(label.source))

    def service(self, service: FeatureService) -> FeatureService:
        """The service over other rows, its request features' inputs and its own row included."""
        own = None if service.own_row is None else self.source(service.own_row)
        return changed(service, features=tuple(map(self._item, service.features)), own_row=own)

    def _item(self, item: FeatureRef | RequestFeature) -> FeatureRef | RequestFeature:
        if isinstance(item, RequestFeature):
            return changed(item, inputs=tuple(changed(ref, view=self.view(ref.view)) for ref in item.inputs))
        return changed(item, view=self.view(item.view))

    def _part(self, part: Mapped) -> Events:
        return self._sources.get(part.source.name, part.source)
