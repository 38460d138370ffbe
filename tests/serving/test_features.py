"""`POST /v1/features` and its kin on a live server: values, statuses, ages, formats, and what is told of errors."""

from __future__ import annotations

from typing import Any

import httpx
import pyarrow as pa
import pytest

from asof.flows.answer import STATUSES
from asof.serving.answer_json import LETTERS
from tests.serving.double import AT, Info

NAMES = ["count_1d", "mean_7d", "balance", "open", "opened", "born", "last_codes", "by_code", "home", "share"]
A1 = [
    3, 12.5, "-12.05", True, "2020-02-29T00:00:00.250000Z", "2000-01-01", ["R01", "R10"], {"R01": 2, "R10": 1},
    "Köln", 0.5,
]  # fmt: skip
A2 = [0, None, None, None, None, None, [], {}, None, 0.25]
UNKNOWN = [0, None, None, None, None, None, [], {}, None, None]


def ask(http: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    return http.post("/v1/features", json=body, headers=headers)


def three(**more: Any) -> dict[str, Any]:
    ids = ["a1", "a2", "nobody"]
    return {
        "service": "ach_risk",
        "entities": {"account_id": ids},
        "request": {"amount": [50, 25.0, None]},
        **more,
    }


def test_letters_are_the_first_letters_of_the_statuses():
    assert "".join(status[0] for status in STATUSES) == LETTERS


def test_many_entities_are_rows_in_the_order_of_the_service(http: httpx.Client):
    made = ask(http, three())
    assert made.status_code == 200
    assert made.headers["content-type"] == "application/json"
    assert made.json() == {
        "service": "ach_risk",
        "names": NAMES,
        "at": AT,
        "values": [A1, A2, UNKNOWN],
        "statuses": ["pppppppppp", "pnennnppsp", "mmmmmmmmmn"],
        "freshness": {
            "activity": {"watermark": "2026-01-31T11:59:00Z", "ages_s": [90.0, 90.0, None]},
            "balances": {"watermark": None, "ages_s": [90.0, 90.0, None]},
        },
    }


def test_one_entity_may_be_written_as_single_values(http: httpx.Client):
    made = ask(
        http, {"service": "ach_risk", "entities": {"account_id": "a1"}, "request": {"amount": 50}}
    ).json()
    assert (made["values"], made["statuses"]) == ([A1], ["pppppppppp"])
    assert made["freshness"]["activity"]["ages_s"] == [90.0]


@pytest.mark.parametrize("ids", [["a1"], ["a2"], ["nobody"]])
def test_one_entity_and_many_are_encoded_alike(http: httpx.Client, ids: list[str]):
    def rows(ids: list[str]) -> Any:
        body = {
            "service": "ach_risk",
            "entities": {"account_id": ids},
            "request": {"amount": [25] * len(ids)},
        }
        return ask(http, body).json()

    one, many = rows(ids), rows(ids * 2)
    assert many["values"] == one["values"] * 2
    assert many["statuses"] == one["statuses"] * 2


def test_no_entity_is_no_row(http: httpx.Client):
    made = ask(http, {"service": "small", "entities": {"account_id": []}})
    assert (made.status_code, made.json()["values"], made.json()["statuses"]) == (200, [], [])


def test_columns_choose_and_order(http: httpx.Client):
    made = ask(http, three(columns=["share", "count_1d", "by_code"])).json()
    assert made["names"] == ["share", "count_1d", "by_code"]
    assert made["values"] == [[0.5, 3, {"R01": 2, "R10": 1}], [0.25, 0, {}], [None, 0, {}]]
    assert made["statuses"] == ["ppp", "ppp", "nmm"]


def test_an_instant_may_be_asked(http: httpx.Client):
    made = ask(http, three(at="2026-01-31T13:00:00.5+01:00")).json()
    assert made["at"] == "2026-01-31T12:00:00.500000Z"
    assert made["freshness"]["activity"]["ages_s"] == [90.5, 90.5, None]


def test_an_arrow_stream_has_types_statuses_and_ages(http: httpx.Client):
    made = ask(http, three(), accept="application/vnd.apache.arrow.stream")
    assert made.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(made.content).read_all()
    assert table.column_names == [*NAMES, "asof:statuses", "asof:age_s:activity", "asof:age_s:balances"]
    assert table["count_1d"].to_pylist() == [3, 0, 0]
    assert table["balance"].type == pa.decimal128(18, 2)
    assert table["asof:statuses"].to_pylist() == ["pppppppppp", "pnennnppsp", "mmmmmmmmmn"]
    assert table["asof:age_s:activity"].to_pylist() == [90.0, 90.0, None]
    assert table.schema.metadata == {
        b"asof:service": b"ach_risk",
        b"asof:at": AT.encode(),
        b"asof:watermark:activity": b"2026-01-31T11:59:00Z",
        b"asof:watermark:balances": b"",
    }


def test_services_are_listed_and_described(http: httpx.Client):
    assert http.get("/v1/services").json() == {
        "environment": "prod",
        "revision": 7,
        "services": [
            {"name": "ach_risk", "description": "For tests.", "owner": "risk", "features": 10, "ready": True},
            {"name": "small", "description": "For tests.", "owner": "risk", "features": 1, "ready": True},
        ],
    }
    one = http.get("/v1/services/ach_risk").json()
    assert one["entities"] == {"account_id": "string"}
    assert one["request"] == {"amount": "float64"}
    assert one["features"][1] == {
        "name": "mean_7d",
        "dtype": "float64",
        "view": "activity",
        "feature": "amount_mean_7d",
    }
    assert one["features"][9]["view"] is None
    assert one["watermarks"] == {"activity": "2026-01-31T11:59:00Z", "balances": None}
    assert one["fingerprint"] == Info().fingerprint


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"service": "ach_rsk", "entities": {"account_id": "a1"}}, 404, "not_found", "did you mean 'ach_risk'?"),
        ({"service": "small", "entities": {"acount_id": "a1"}}, 400, "missing_column", "needed: account_id"),
        ({"service": "small", "entities": {"account_id": "a1", "x": 1}}, 400, "unknown_name", "account_id"),
        ({"service": "small", "entities": {"account_id": 7}}, 400, "wrong_type", "not a string"),
        ({"service": "ach_risk", "entities": {"account_id": "a1"}}, 400, "missing_column", "needed: amount"),
        ({"service": "ach_risk", "entities": {"account_id": "a1"}, "request": {"amount": ""}}, 400, "wrong_type", ""),
        ({"service": "small", "entities": {"account_id": ["a"] * 1_001}}, 413, "limit_error", "at most 1000"),
        ({"service": "small", "entities": {"account_id": "a1"}, "columns": ["x"]}, 400, "unknown_name", "count_1d"),
        ({"service": "small", "entities": {"account_id": "a1"}, "at": "noon"}, 400, "bad_request", "at: not a time"),
        ({"service": "small", "entities": {"account_id": "a1"}, "at": "2020-01-01"}, 400, "data_error", "before"),
        ({"service": "small"}, 400, "bad_request", "missing required field `entities`"),
        ({"service": "small", "entities": []}, 400, "bad_request", "Expected `object`, got `array`"),
        ({"service": "small", "entities": {"account_id": {}}}, 400, "bad_request", "got `object`"),
        ({"service": "small", "entities": {}, "featurs": 1}, 400, "bad_request", "unknown field `featurs`"),
        (three(request={"amount": 1}), 400, "bad_request", "is a list and"),
        (three(request={"amount": [1]}), 400, "bad_request", "has 1 values and"),
        ([], 400, "bad_request", "Expected `object`"),
    ],
)  # fmt: skip
def test_wrong_input_names_the_thing_and_what_is_allowed(
    http: httpx.Client, body: Any, status: int, code: str, said: str
):
    made = ask(http, body)
    error = made.json()["error"]
    assert (made.status_code, error["code"]) == (status, code)
    assert list(error) == ["code", "message", "hint", "facts"]
    assert said in f"{error['message']} {error['hint']}"


def test_an_instant_that_is_none_is_told_and_not_quoted(http: httpx.Client):
    for text in ("secret-4711", "2026-13-01", "", "0001-01-01T00:00:00+23:59"):
        made = ask(http, {"service": "small", "entities": {"account_id": "a1"}, "at": text})
        error = made.json()["error"]
        assert (made.status_code, error["code"], error["facts"]) == (400, "bad_request", {})
        assert error["message"] == "at: not a time such as 2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"service": "small", "entities": {"account_id": NaN}}', b"[" * 9_999]
)
def test_what_is_no_json_is_told(http: httpx.Client, body: bytes):
    made = http.post("/v1/features", content=body, headers={"content-type": "application/json"})
    assert (made.status_code, made.json()["error"]["code"]) == (400, "bad_request")


def test_routes_methods_and_media_types(http: httpx.Client):
    assert http.get("/v1/featurs").json()["error"]["code"] == "not_found"
    wrong = http.get("/v1/features")
    assert (wrong.status_code, wrong.headers["allow"], wrong.json()["error"]["code"]) == (
        405,
        "POST",
        "method_not_allowed",
    )
    form = http.post("/v1/features", data={"a": "b"})
    assert (form.status_code, form.json()["error"]["code"]) == (415, "unsupported_media_type")
    html = http.post("/v1/features", json=three(), headers={"accept": "text/html"})
    assert (html.status_code, html.json()["error"]["code"]) == (406, "not_acceptable")
    late = http.post("/v1/features", json=three(), headers={"x-asof-deadline-ms": "soon"})
    assert (late.status_code, late.json()["error"]["code"]) == (400, "bad_request")


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(http: httpx.Client):
    headers = {"content-type": "application/json"}
    whole = http.post("/v1/features", content=b" " * 1_100_000, headers=headers)
    parts = http.post("/v1/features", content=iter([b" " * 100_000] * 12), headers=headers)
    for made in (whole, parts):
        assert (made.status_code, made.json()["error"]["code"]) == (413, "body_too_large")


def test_a_request_id_is_kept_where_it_is_sane_and_made_where_not(http: httpx.Client):
    for given, kept in (("abc-1.2:3", True), ("", False), ("a b", False), ("x" * 129, False), ('"};', False)):
        made = http.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"]
        assert (made == given) is kept
        assert made


def test_a_bug_is_a_500_that_says_nothing_and_a_log_that_says_all(http: httpx.Client, server: Any):
    made = ask(http, {"service": "small", "entities": {"account_id": "boom-4711"}})
    assert made.status_code == 500
    assert made.json()["error"] == {
        "code": "internal_error",
        "message": "the server failed; its log has the request's id",
        "hint": None,
        "facts": {},
    }
    assert f"request {made.headers['x-request-id']} failed" in server.text()
    assert "RuntimeError" in server.text()
    assert "boom-4711" not in server.text()


def test_a_store_that_is_down_is_a_503_that_may_be_tried_again(http: httpx.Client):
    made = ask(http, {"service": "small", "entities": {"account_id": "down"}})
    assert (made.status_code, made.json()["error"]["code"], made.headers["retry-after"]) == (
        503,
        "backend_error",
        "1",
    )
