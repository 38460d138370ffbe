"""The OpenAPI document of the server, `GET /openapi.json`: what each route takes and gives.

Written by hand and held to the truth by tests: every route is in it, and requests made from it never get what it does
not name (tests/serving/test_fuzz.py).
"""

from __future__ import annotations

from typing import Any

import asof
from asof.serving.answer_arrow import MEDIA_TYPE as ARROW
from asof.serving.events import NDJSON_TYPE as NDJSON
from asof.serving.failures import HTTP_CODES

Json = dict[str, Any]

_SCALAR: Json = {"type": ["string", "integer", "number", "boolean", "null"]}
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 256}
_ERRORS = ("400", "401", "404", "405", "409", "413", "415", "500", "503", "504")
_TECTON_ERRORS = ("400", "401", "403", "404", "500", "503", "504")


def openapi() -> Json:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "asof feature server",
            "version": asof.__version__,
            "description": "Features of entities as of now, in the order of a service.",
        },
        "security": [{}, {"bearer": []}],
        "paths": {**_own(), **_events(), **_feast(), **_tecton(), **_system()},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _answers(schema: Json, errors: tuple[str, ...], error: str = "Error", more: Json | None = None) -> Json:
    found: Json = {"200": {"description": "The answer.", "content": {**_json(schema), **(more or {})}}}
    for status in errors:
        meanings = [text for number, text in HTTP_CODES.values() if str(number) == status]
        found[status] = {"description": " ".join(meanings) or "An error.", "content": _json(_ref(error))}
    return found


def _post(
    summary: str,
    body: str,
    answer: str,
    errors: tuple[str, ...] = _ERRORS,
    error: str = "Error",
    more: Json | None = None,
) -> Json:
    deadline = {
        "name": "x-asof-deadline-ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        "description": "The longest that the request may take.",
    }
    return {
        "post": {
            "summary": summary,
            "parameters": [deadline],
            "requestBody": {"required": True, "content": _json(_ref(body))},
            "responses": _answers(_ref(answer), errors, error, more),
        }
    }


def _get(summary: str, schema: Json, errors: tuple[str, ...] = ("401", "405", "500", "503", "504")) -> Json:
    return {"get": {"summary": summary, "responses": _answers(schema, errors)}}


def _own() -> Json:
    arrow = {ARROW: {"schema": {"type": "string", "contentMediaType": ARROW}}}
    one = _get("One service: what it takes and what it gives.", _ref("Service"), ("400", *_ERRORS[1:]))
    one["get"]["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": _NAME}]
    return {
        "/v1/features": _post(
            "Features of one or many entities.",
            "FeaturesRequest",
            "Features",
            ("400", "401", "404", "405", "406", *_ERRORS[4:]),
            more=arrow,
        ),
        "/v1/services": _get("All services in short.", _ref("Services")),
        "/v1/services/{name}": one,
    }


def _events() -> Json:
    made = _post("Events for the stream of a source: all are appended, or none.", "Events", "Pushed")
    made["post"]["parameters"] += [
        {"name": "source", "in": "path", "required": True, "schema": _NAME},
        {
            "name": "idempotency-key",
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            "description": "A batch that is sent again under its key is not appended again.",
        },
    ]
    made["post"]["requestBody"]["content"] |= {
        NDJSON: {"schema": {"type": "string", "description": "An object a line."}},
        ARROW: {"schema": {"type": "string", "contentMediaType": ARROW}},
    }
    return {"/v1/events/{source}": made}


def _feast() -> Json:
    return {
        "/get-online-features": _post("As Feast's feature server answers.", "FeastRequest", "FeastAnswer"),
        "/health": _get("The server is there.", {"type": "object"}),
    }


def _tecton() -> Json:
    base = "/api/v1/feature-service/"
    return {
        base + "get-features": _post(
            "As Tecton's feature server answers.",
            "TectonRequest",
            "TectonAnswer",
            _TECTON_ERRORS,
            "TectonError",
        ),
        base + "metadata": _post(
            "A service as Tecton tells of it.",
            "TectonMetadataRequest",
            "TectonMetadata",
            _TECTON_ERRORS,
            "TectonError",
        ),
    }


def _system() -> Json:
    text = {
        "200": {
            "description": "What the server has counted.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    }
    metrics = _get("What Prometheus reads.", {"type": "string"})
    metrics["get"]["responses"] |= text
    return {
        "/healthz": _get("The process answers.", _ref("Status")),
        "/readyz": _get("The server should be asked.", _ref("Status")),
        "/metrics": metrics,
        "/openapi.json": _get("This document.", {"type": "object"}),
    }


def _object(properties: Json, required: list[str] | None = None, *, closed: bool = False) -> Json:
    made: Json = {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }
    return {**made, "additionalProperties": False} if closed else made


def _map(values: Json) -> Json:
    return {"type": "object", "additionalProperties": values}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _schemas() -> Json:
    text: Json = {"type": "string"}
    or_null: Json = {"type": ["string", "null"]}
    error = _object(
        {"code": text, "message": text, "hint": or_null, "facts": {"type": "object"}},
    )
    return {
        "Error": _object({"error": error}),
        **_feature_schemas(text, or_null),
        "Services": _object(
            {
                "environment": text,
                "revision": {"type": ["integer", "null"]},
                "services": _list(
                    _object(
                        {
                            "name": text,
                            "description": text,
                            "owner": text,
                            "features": {"type": "integer"},
                            "ready": {"type": "boolean"},
                        }
                    )
                ),
            }
        ),
        "Service": _service(text, or_null),
        "Status": _object({"status": text}, ["status"]),
        **_event_schemas(),
        **_feast_schemas(text),
        **_tecton_schemas(text),
    }


def _feature_schemas(text: Json, or_null: Json) -> Json:
    return {
        "FeaturesRequest": _object(
            {
                "service": _NAME,
                "entities": _map({"anyOf": [_SCALAR, _list(_SCALAR)]}),
                "request": {"type": ["object", "null"], "additionalProperties": True},
                "at": {
                    "type": ["string", "null"],
                    "maxLength": 64,
                    "description": "ISO 8601; now unless given.",
                },
                "columns": {
                    "type": ["array", "null"],
                    "items": _NAME,
                    "description": "Only these, in this order.",
                },
            },
            ["service", "entities"],
            closed=True,
        ),
        "Features": _object(
            {
                "service": text,
                "names": _list(text),
                "at": text,
                "values": _list({"type": "array"}),
                "statuses": _list({"type": "string", "pattern": "^[pnmes]*$"}),
                "freshness": _map(
                    _object({"watermark": or_null, "ages_s": _list({"type": ["number", "null"]})})
                ),
            }
        ),
    }


def _event_schemas() -> Json:
    events = _list({"type": "object", "additionalProperties": True})
    place = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    return {
        "Events": {"oneOf": [events, _object({"events": events}, closed=True)]},
        "Pushed": _object(
            {"count": {"type": "integer"}, "repeated": {"type": "boolean"}, "offsets": _map(place)}
        ),
    }


def _service(text: Json, or_null: Json) -> Json:
    return _object(
        {
            "environment": text,
            "revision": {"type": ["integer", "null"]},
            "name": text,
            "description": text,
            "owner": text,
            "fingerprint": text,
            "entities": _map(text),
            "request": _map(text),
            "features": _list(_object({"name": text, "dtype": text, "view": or_null, "feature": text})),
            "watermarks": _map(or_null),
        }
    )


def _feast_schemas(text: Json) -> Json:
    statuses = {"enum": ["PRESENT", "NOT_FOUND", "NULL_VALUE", "OUTSIDE_MAX_AGE"]}
    result = _object(
        {"values": {"type": "array"}, "statuses": _list(statuses), "event_timestamps": _list(text)}
    )
    return {
        "FeastRequest": _object(
            {
                "entities": _map({"type": "array"}),
                "features": _list(text),
                "feature_service": {"type": ["string", "null"]},
                "full_feature_names": {"type": "boolean"},
            },
            ["entities"],
        ),
        "FeastAnswer": _object(
            {"metadata": _object({"feature_names": _list(text)}), "results": _list(result)}
        ),
    }


def _tecton_schemas(text: Json) -> Json:
    names = {"featureServiceName": text, "workspaceName": text}
    options = {"type": ["object", "null"], "additionalProperties": {"type": "boolean"}}
    typed = _list(_object({"name": text, "dataType": {"type": "object"}}))
    values = {"type": ["object", "null"]}
    request = _object(
        {
            **names,
            "joinKeyMap": values,
            "requestContextMap": values,
            "allowPartialResults": {"type": "boolean"},
            "metadataOptions": options,
            "requestOptions": {
                "type": ["object", "null"],
                "properties": {"latencyBudgetMs": {"type": "integer"}},
            },
        },
        list(names),
    )
    return {
        "TectonRequest": _object({"params": request}),
        "TectonAnswer": _object(
            {"result": _object({"features": {"type": "array"}}), "metadata": {"type": "object"}}, ["result"]
        ),
        "TectonMetadataRequest": _object({"params": _object(names)}),
        "TectonMetadata": _object(
            {"inputJoinKeys": typed, "inputRequestContextKeys": typed, "featureValues": typed}
        ),
        "TectonError": _object({"error": text, "code": {"type": "integer"}, "message": text}),
    }
