"""What a change would take away from whoever reads a service, and who that is known to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asof.define.spec import Spec
from asof.registry.diff import ObjectChange
from asof.registry.lineage import column_of, object_graph
from asof.usage import UsageEvent

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Break:
    """One thing that readers of a service would miss. Without readers it is only a warning."""

    service: str
    what: str
    readers: tuple[str, ...]


def find_breaks(
    changes: Sequence[ObjectChange],
    old: Mapping[str, Spec],
    new: Mapping[str, Spec],
    receipts: Callable[[], Iterable[UsageEvent]] = list,
) -> list[Break]:
    """What services lose by the changes: columns, the service itself, keys and request columns of another form.

    Readers are the models that ask the service before and after the change, and the flows that the ledger's
    `receipts` name, which are asked for only when something is lost.
    """
    lost = [
        (change, text)
        for change in changes
        if change.old is not None and change.spec.kind == "feature_service"
        for text in _lost(change, old, new)
    ]
    if not lost:
        return []
    used: dict[str, dict[str, None]] = {}
    for event in receipts():
        if service := event.labels.get("service"):
            used.setdefault(service, {})[f"{event.flow} (ledger)"] = None
    return [
        Break(was.name, text, (*_models(was, change.key, old, new), *used.get(was.name, ())))
        for change, text in lost
        if (was := change.old) is not None
    ]


def _lost(change: ObjectChange, old: Mapping[str, Spec], new: Mapping[str, Spec]) -> list[str]:
    was, now = change.old, change.new
    if was is None or now is None:
        return ["is removed"]
    if was.name != now.name:
        return [f"is renamed to {now.name!r}"]
    before, after = _columns(was), _columns(now)
    said = [f"loses feature {name!r}" for name in before if name not in after]
    for name, item in before.items():
        if name in after and (types := _types(item, after[name], old, new)):
            said.append(f"feature {name!r} changes its type from {types[0]} to {types[1]}")
    if now.about("own_row") and not was.about("own_row"):
        said.append("needs the columns of its own row in a request")
    keys, request = _keys(was, old), _request(was, old)
    said += [
        f"needs key {name!r} of type {kind}"
        for name, kind in _keys(now, new).items()
        if keys.get(name) != kind
    ]
    return said + [
        f"needs request column {name!r} of type {kind}"
        for name, kind in _request(now, new).items()
        if request.get(name) != kind
    ]


def _columns(service: Spec) -> dict[str, Body]:
    return {column_of(item): item for item in service.body["features"]}


def _types(
    item: Body, other: Body, old: Mapping[str, Spec], new: Mapping[str, Spec]
) -> tuple[str, str] | None:
    """The types of a request feature before and after, or the shapes of a view's feature, where they differ."""
    types = (_type(item, old), _type(other, new))
    return types if types[0] != types[1] else None


def _type(item: Body, specs: Mapping[str, Spec]) -> str:
    spec = specs.get(item["ref"])
    body: Body = {} if spec is None else spec.body
    if "feature" not in item:
        return str(body.get("dtype", "float64"))
    found: Body = next((each for each in body.get("features", []) if each["name"] == item["feature"]), {})
    is_list = found.get("function") == "topk" or "n" in (found.get("params") or {})
    return "a map" if found.get("by") else "a list" if is_list else "a value"


def _below(service: Spec, specs: Mapping[str, Spec], kind: str) -> list[Spec]:
    found, queue = dict[str, Spec](), [service]
    for each in queue:
        for ref in each.refs:
            if ref in specs and ref not in found:
                found[ref] = specs[ref]
                queue.append(specs[ref])
    return [spec for spec in found.values() if spec.kind == kind]


def _keys(service: Spec, specs: Mapping[str, Spec]) -> dict[str, str]:
    entities = _below(service, specs, "entity")
    return {key["name"]: key["type"] for entity in entities for key in entity.body["keys"]}


def _request(service: Spec, specs: Mapping[str, Spec]) -> dict[str, str]:
    features = _below(service, specs, "request_feature")
    return {item["name"]: item["type"] for feature in features for item in feature.body.get("request", [])}


def _models(service: Spec, asked: str, old: Mapping[str, Spec], new: Mapping[str, Spec]) -> list[str]:
    """The models that ask a service, before and after; one that goes too, or asks another, will not miss it."""
    above = object_graph(old).next(service.key, "down")
    models = [key for key in above if key in old and old[key].kind == "model" and key in new]
    return [old[key].words for key in models if asked in new[key].refs]
