"""Checking definitions against each other's SQL and against the data that they name, without reading rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from asof.define.feature_view import FeatureView
from asof.define.label import Label
from asof.define.source import parts_of
from asof.engines.scan import Engine
from asof.errors import AsofError
from asof.flows.groups import Group, group_features
from asof.flows.load import Definitions
from asof.flows.read_history import scans_of


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which definition, and the error that using it would raise."""

    kind: str
    name: str
    error: AsofError


def check_project(engine: Engine, definitions: Definitions) -> list[Finding]:
    """What using each view and label would stumble on: missing files and columns, wrong types, SQL that is no
    expression.
    """
    findings: list[Finding] = []
    for view in cast("list[FeatureView]", definitions.list("feature_view")):
        for group in group_features(view.refs()):
            findings += _check(engine, "feature_view", view.name, group)
    for label in cast("list[Label]", definitions.list("label")):
        features = tuple(((label.name, f.name), f) for f, _ in label.features())
        group = Group(label.source, label.entity, label.keys, features)
        findings += _check(engine, "label", label.name, group)
    return findings


def _check(engine: Engine, kind: str, name: str, group: Group) -> list[Finding]:
    try:
        for scan in scans_of(
            parts_of(group.source), group.key_sql, group.columns, group.predicates, None, ()
        ):
            schema, _ = engine.read(scan, 1)
            group.check_types(scan, schema)
    except AsofError as exc:
        return [Finding(kind, name, exc)]
    return []
