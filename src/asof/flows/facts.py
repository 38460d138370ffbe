"""What the body of an object says, in words, by what it is about: `entity`, `source`, `event time`, `windows` ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from asof.clock import format_duration
from asof.define.label import Horizon
from asof.define.spec import Spec
from asof.registry.fields import stream_label, summary, window_label

Body = Mapping[str, Any]
Specs = Mapping[str, Spec]


def facts_of(spec: Spec, specs: Specs) -> dict[str, str]:
    """The facts of an object that people ask for, those that are not said left out."""
    facts = _FACTS.get(spec.kind)
    said = {} if facts is None else facts(spec.body, specs)
    return {name: text for name, text in said.items() if text}


def _name(ref: Body | None) -> str:
    return "" if ref is None else str(ref["ref"]).partition(":")[2]


def _typed(columns: Iterable[Body] | None) -> str:
    return ", ".join(f"{column['name']} {column['type']}" for column in columns or ())


def _mapped(columns: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} = {sql}" for name, sql in (columns or {}).items())


def _entity(body: Body, specs: Specs) -> dict[str, str]:
    del specs
    return {"keys": _typed(body["keys"])}


def _source(body: Body, specs: Specs) -> dict[str, str]:
    del specs
    if "sources" in body:
        return {"sources": ", ".join(_name(part["source"]) for part in body["sources"])}
    return {
        "history": _history(body["history"]),
        **_times(body),
        "event key": body.get("key") or "",
        "deleted where": body.get("deleted") or "",
        "sequence": body.get("sequence") or "",
        "personal": ", ".join(body.get("personal", [])),
        "stream": stream_label(body.get("stream")) or "",
    }


def _history(body: Body) -> str:
    kind = body["type"]
    places = body.get("paths") or [each for each in (body.get("database"), body.get("table")) if each]
    return " ".join([kind, ", ".join(places)]) if places else f"{kind} {body.get('name', '')}".strip()


def _times(body: Body) -> dict[str, str]:
    zone = f" ({body['zone']})" if body.get("zone") else ""
    if body.get("known_at"):
        known = body["known_at"]
    elif body.get("delay_us"):
        known = f"{format_duration(body['delay_us'])} after the event time"
    else:
        known = "the event time"
    return {"event time": body["event_time"] + zone, "known at": known}


def _source_times(ref: Body, specs: Specs) -> str:
    spec = specs.get(ref["ref"])
    if spec is None:
        return ""
    parts = [part["source"] for part in spec.body.get("sources", [])]
    if parts:
        return "; ".join(f"{_name(part)}: {_source_times(part, specs)}" for part in parts)
    times = _times(spec.body)
    return f"event time {times['event time']}, known at {times['known at']}"


def _entity_words(ref: Body, specs: Specs) -> str:
    spec = specs.get(ref["ref"])
    return _name(ref) + (f" ({_typed(spec.body['keys'])})" if spec else "")


def _view(body: Body, specs: Specs) -> dict[str, str]:
    windows = [window_label(item["window"]) for item in body["features"] if item["function"] != "latest"]
    return {
        "entity": _entity_words(body["entity"], specs),
        "keys": _mapped(body.get("keys")),
        "source": _name(body["source"]),
        "times": _source_times(body["source"], specs),
        "windows": ", ".join(dict.fromkeys(each for each in windows if each)),
        "online": "yes" if body.get("online") else "no",
        "freshness": format_duration(body["freshness_us"]) if body.get("freshness_us") else "",
    }


def _request_feature(body: Body, specs: Specs) -> dict[str, str]:
    del specs
    inputs = [f"{_name(item)}.{item['feature']}" for item in body.get("inputs", [])]
    return {"inputs": ", ".join(inputs), "request": _typed(body.get("request")), "type": body["dtype"]}


def _service(body: Body, specs: Specs) -> dict[str, str]:
    below = [specs[item["ref"]] for item in body["features"] if item["ref"] in specs]
    asked = [spec for spec in below if spec.kind == "request_feature"]
    inputs = [item["ref"] for spec in asked for item in spec.body.get("inputs", [])]
    views = [specs[ref] for ref in dict.fromkeys([*(spec.key for spec in below), *inputs]) if ref in specs]
    entities = [_entity_words(spec.body["entity"], specs) for spec in views if "entity" in spec.body]
    request = {
        column["name"]: column for spec in asked for column in cast("list[Body]", spec.about("request") or [])
    }
    return {
        "entities": ", ".join(dict.fromkeys(entities)),
        "request": _typed(request.values()),
        "own row": _name(body.get("own_row")),
    }


def _label(body: Body, specs: Specs) -> dict[str, str]:
    horizons = [
        " ".join(text for text in (each.get("code"), Horizon(**each["horizon"]).label) if text)
        for each in body["outcomes"]
    ]
    value = body.get("value")
    return {
        "entity": _entity_words(body["entity"], specs),
        "keys": _mapped(body.get("keys")),
        "source": _name(body["source"]),
        "times": _source_times(body["source"], specs),
        "horizon": ", ".join(horizons),
        "outcome": body.get("outcome") or "",
        "value": summary(value) if value else "1 when any event comes in time, else 0",
        "where": body.get("predicate") or "",
    }


def _model(body: Body, specs: Specs) -> dict[str, str]:
    del specs
    return {
        "service": _name(body["service"]),
        "labels": ", ".join(_name(label) for label in body.get("labels", [])),
    }


_FACTS: dict[str, Callable[[Body, Specs], dict[str, str]]] = {
    "entity": _entity,
    "source": _source,
    "feature_view": _view,
    "request_feature": _request_feature,
    "feature_service": _service,
    "label": _label,
    "model": _model,
}
