"""Warning whoever uses what is deprecated."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

from asof.define.deprecated import Deprecated, DeprecatedDefinition
from asof.define.feature_view import FeatureRef
from asof.define.kinds import Definition, below, kind_of, spoken
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService


def warn_deprecated(used: Iterable[Definition], *, stacklevel: int = 3) -> None:
    """A warning for each deprecated definition among these and all that they stand on, and for each deprecated
    feature that they ask for; the category is `DeprecatedDefinition`.

    The warning points at the caller of the function that calls this, unless `stacklevel` says another one.
    """
    for words, deprecated in dict(_deprecated(used)).items():
        warnings.warn(f"{words} is {deprecated}", DeprecatedDefinition, stacklevel=stacklevel)


def _deprecated(used: Iterable[Definition]) -> Iterator[tuple[str, Deprecated]]:
    seen: dict[int, Definition] = {}
    queue = list(used)
    for thing in queue:
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if thing.deprecated is not None:
            yield f"{spoken(kind_of(thing) or '')} {thing.name!r}", thing.deprecated
        for ref in _asked(thing):
            if ref.feature.deprecated is not None:
                yield (
                    f"feature {ref.feature.name!r} of feature view {ref.view.name!r}",
                    ref.feature.deprecated,
                )
        queue += below(thing)


def _asked(thing: Definition) -> Iterable[FeatureRef]:
    """The features that a definition asks for by name; those of its request features are theirs."""
    if isinstance(thing, RequestFeature):
        return thing.inputs
    items = thing.features if isinstance(thing, FeatureService) else ()
    return [item for item in items if isinstance(item, FeatureRef)]
