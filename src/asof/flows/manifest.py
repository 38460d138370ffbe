"""Manifests: what a training set was made of, so that it can be made again byte for byte.

A manifest holds no time of day and no name of a machine: equal inputs have equal manifests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from asof.define.feature_view import FeatureView
from asof.define.fingerprint import fingerprint
from asof.define.label import Label
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.source import parts_of
from asof.engines.scan import Engine

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """Definitions, sources, spine and options of a training set."""

    format: int
    asof_version: str
    service: str
    definitions: dict[str, str]
    sources: dict[str, list[dict[str, object]]]
    spine: dict[str, object]
    options: dict[str, object]
    rows: int
    columns: dict[str, str]

    def to_json(self) -> str:
        """The manifest as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def definitions_of(service: FeatureService, labels: Sequence[Label]) -> dict[str, str]:
    """The fingerprint of every definition that a training set's values depend on."""
    views: dict[str, FeatureView] = {ref.view.name: ref.view for ref in service.refs}
    made = {f"feature_view:{name}": fingerprint(view) for name, view in views.items()}
    for item in service.features:
        if isinstance(item, RequestFeature):
            made[f"request_feature:{item.name}"] = fingerprint(item)
    made |= {f"label:{label.name}": fingerprint(label) for label in labels}
    made[f"feature_service:{service.name}"] = fingerprint(service)
    return made


def sources_of(
    engine: Engine, service: FeatureService, labels: Sequence[Label]
) -> dict[str, list[dict[str, object]]]:
    """The identities of the files of every source."""
    sources = [*(ref.view.source for ref in service.refs), *(label.source for label in labels)]
    events = {part.source.name: part.source for source in sources for part in parts_of(source)}
    return {
        name: [asdict(shot) for shot in engine.snapshots(source)] for name, source in sorted(events.items())
    }
