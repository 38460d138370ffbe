"""Models: what a model family reads, so that lineage reaches from a source's column to the model that decides
by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from asof.define.deprecated import Deprecated
from asof.define.label import Label
from asof.define.names import check_name, check_people, check_unique
from asof.define.place import Placed
from asof.define.service import FeatureService
from asof.errors import DefinitionError


@dataclass(frozen=True, init=False)
class Model(Placed):
    """A family of models: the feature service that it asks, and the labels that it learns from.

    Raises:
        DefinitionError: a service or a label that is none.
    """

    name: str
    service: FeatureService
    labels: tuple[Label, ...]
    owner: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        *,
        service: FeatureService,
        labels: Sequence[Label] = (),
        owner: str = "",
        description: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
    ) -> None:
        where = f"model {check_name('model', name)!r}"
        if not isinstance(service, FeatureService):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DefinitionError(f"{where}: service is {type(service).__name__}", hint="a FeatureService")
        for label in labels:
            if not isinstance(label, Label):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DefinitionError(f"{where}: label is {type(label).__name__}", hint="a Label")
        check_people(where, owner, description, tags)
        check_unique(where, "labels", (label.name for label in labels))
        facts: dict[str, object] = {
            "name": name, "service": service, "labels": tuple(labels), "owner": owner,
            "description": description, "tags": tuple(tags), "deprecated": deprecated,
        }  # fmt: skip
        for fact, value in facts.items():
            object.__setattr__(self, fact, value)
