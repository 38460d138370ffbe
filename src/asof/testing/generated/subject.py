"""What is checked: a view, a label, or the windows of a service with an own row; and what it speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asof.define.aggregation import Feature, count
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.label import Label
from asof.define.service import FeatureService
from asof.define.source import Events, Pairs, Union, parts_of
from asof.define.substitute import Substitution, changed
from asof.testing.generated.values import DAY_US, Words

_LONGEST_US = 7_300 * DAY_US


@dataclass(frozen=True)
class Subject:
    """One definition to check, as a service that can be asked (a label comes with a view that nobody looks at)."""

    kind: str
    name: str
    service: FeatureService
    label: Label | None = None

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """The views whose features are compared."""
        return () if self.label else tuple(dict.fromkeys(ref.view for ref in self.service.refs))

    @property
    def sources(self) -> dict[str, Events]:
        """The sources that it reads, parts of unions one by one, by name."""
        return {part.source.name: part.source for top in self.tops for part in parts_of(top)}

    @property
    def tops(self) -> tuple[Events | Union, ...]:
        """The sources that it reads, unions as a whole."""
        return (self.label.source,) if self.label else tuple(view.source for view in self.views)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Its features, and those inside of ratios."""
        return tuple(_all([feature for view in self.views for feature in view.features]))

    def over(self, sources: dict[str, Events]) -> Subject:
        """The same over other sources."""
        made = Substitution(sources)
        label = None if self.label is None else made.label(self.label)
        return Subject(self.kind, self.name, made.service(self.service), label)

    def words(self) -> Words:
        """The literals of all its SQL."""
        return Words.of([*(sql for _, sql in self._pairs()), *self._predicates()])

    def spans_us(self) -> tuple[int, ...]:
        """The lengths and offsets of its windows, its times to live and its horizons."""
        windows = [feature.window for feature in self.features]
        found = {us for window in windows for us in (window.size_us, window.offset_us, window.hop_us)}
        found |= {feature.ttl_us for feature in self.features}
        for outcome in self.label.outcomes if self.label else ():
            found.add(outcome.horizon.size_us or outcome.horizon.banking_days * DAY_US)
        return tuple(sorted(us for us in found if us and us <= _LONGEST_US))

    def key_sql(self) -> tuple[str, ...]:
        """The SQL of its entity keys."""
        owners = [self.label] if self.label else self.views
        return tuple(dict(o.keys).get(name, name) for o in owners for name in o.entity.keys.names)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        maps: list[Pairs] = [owner.keys for owner in (*self.views, *([self.label] if self.label else []))]
        maps += [source.columns for source in self.sources.values()]
        maps += [part.columns for top in self.tops for part in parts_of(top)]
        for pairs in maps:
            yield from pairs

    def _predicates(self) -> Iterator[str]:
        features = [
            *self.features,
            *(feature for feature, _ in (self.label.features() if self.label else ())),
        ]
        for sql in (*(f.predicate for f in features), *(s.deleted for s in self.sources.values())):
            if sql is not None:
                yield sql


def subjects_of(
    views: Sequence[FeatureView], labels: Sequence[Label], services: Sequence[FeatureService]
) -> list[Subject]:
    """What there is to check in a project: every view, every label, and services that count the scored row."""
    made = [Subject("feature view", view.name, FeatureService(view.name, [view])) for view in views]
    made += [Subject("label", label.name, _beside(label), label) for label in labels]
    for service in services:
        refs = tuple(item for item in service.features if isinstance(item, FeatureRef))
        if service.own_row is not None and any(ref.view.source == service.own_row for ref in refs):
            made.append(Subject("feature service", service.name, changed(service, features=refs)))
    return made


def _beside(label: Label) -> FeatureService:
    counted = count().over("lifetime").named("asof_rows")
    view = FeatureView(
        "asof_rows", entity=label.entity, source=label.source, keys=dict(label.keys), features=[counted]
    )
    return FeatureService("asof_rows", [view])


def _all(features: Sequence[Feature]) -> Iterator[Feature]:
    for feature in features:
        yield feature
        yield from feature.parts
