"""OpenLineage events: what they say, and that sending them never harms the flow that has something to tell."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from asof import Entity, Events, FeatureView, Parquet, count
from asof.config import Config, load_config
from asof.errors import MissingExtra
from asof.flows import openlineage
from asof.flows.lineage import Lineage, lineage_of, state_of
from asof.flows.openlineage import check_openlineage, emit, emit_state, to_json
from asof.flows.openlineage_events import events_of
from asof.registry.state import State
from asof.testing.clock import FakeClock
from asof.types import DType
from tests.flows.discovery import bank_lineage

BANK = bank_lineage()
AT_US = 1_751_284_800_000_000  # 2025-06-30T12:00:00Z


def plain(value: Any) -> Any:
    """An event without what every facet says of itself."""
    if isinstance(value, dict):
        hidden = {"_producer", "_schemaURL", "inputFacets", "outputFacets"}
        return {key: plain(item) for key, item in value.items() if key not in hidden}
    return [plain(item) for item in value] if isinstance(value, list) else value


def event_of(key: str, lineage: Lineage = BANK, **options: Any) -> dict[str, Any]:
    (event,) = events_of(lineage, "bank", at_us=AT_US, keys=[key], **options)
    return json.loads(to_json(event))


def read(column: str, *hows: str, of: str = "source.card") -> dict[str, Any]:
    """One input field, as `DIRECT/AGGREGATION` and so on."""
    made = [dict(zip(("type", "subtype"), how.split("/"), strict=False)) for how in hows]
    return {"namespace": "bank.local", "name": of, "field": column, "transformations": made}


def test_an_event_of_a_view_says_what_its_job_reads_and_makes() -> None:
    event = event_of("feature_view:spend")
    assert event["eventTime"] == "2025-06-30T12:00:00Z"
    assert event["producer"].startswith("pkg:pypi/asof@")
    assert event["schemaURL"].endswith("#/$defs/JobEvent")
    assert plain(event["job"]) == {
        "namespace": "bank.local",
        "name": "feature_view.spend",
        "facets": {
            "jobType": {"processingType": "BATCH", "integration": "ASOF", "jobType": "FEATURE_VIEW"},
            "ownership": {"owners": [{"name": "risk"}]},
            "documentation": {"description": "What an account spends by card."},
        },
    }
    (source,), (view,) = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == ("bank.local", "source.card")
    assert (view["namespace"], view["name"]) == ("bank.local", "feature_view.spend")
    assert view["facets"]["version"]["datasetVersion"] == BANK.state.specs["feature_view:spend"].fingerprint
    assert source["facets"]["version"]["datasetVersion"] == BANK.state.specs["source:card"].fingerprint


def test_the_schema_has_keys_and_features_with_the_types_that_are_known() -> None:
    fields = plain(event_of("feature_view:spend")["outputs"][0]["facets"]["schema"]["fields"])
    assert fields == [
        {"name": "account_id", "type": "string", "ordinal_position": 1},
        {"name": "count_1h", "type": "int64", "ordinal_position": 2},
        {"name": "count_1d", "type": "int64", "ordinal_position": 3},
        {"name": "amount_sum_1d", "description": "Spend of a day, in dollars.", "ordinal_position": 4},
        {"name": "gambling", "ordinal_position": 5},
        {"name": "web_share", "type": "float64", "ordinal_position": 6},
        {"name": "email", "ordinal_position": 7},
    ]


def test_column_lineage_says_how_each_feature_is_made() -> None:
    facet = plain(event_of("feature_view:spend")["outputs"][0]["facets"]["columnLineage"])
    assert facet["fields"] == {
        "amount_sum_1d": {
            "inputFields": [read("amount", "DIRECT/AGGREGATION")],
            "transformationDescription": "sum(amount) over 1d",
        },
        "gambling": {
            "inputFields": [read("amount", "DIRECT/AGGREGATION"), read("mcc", "INDIRECT/FILTER")],
            "transformationDescription": "sum(amount) where mcc = '7995' over 30d",
        },
        "web_share": {
            "inputFields": [read("amount", "DIRECT/AGGREGATION"), read("channel", "INDIRECT/FILTER")],
            "transformationDescription": "ratio(sum(amount) where channel = 'web', count()) over 7d",
        },
        "email": {
            "inputFields": [read("email", "DIRECT/IDENTITY")],
            "transformationDescription": "latest(email), ttl 90d",
        },
    }
    assert facet["dataset"] == [
        read("account_id", "INDIRECT/GROUP_BY"),
        read("at", "INDIRECT/WINDOW"),
        read("ingested_at", "INDIRECT/FILTER"),
        read("tx_id", "INDIRECT/FILTER"),
        read("status", "INDIRECT/FILTER"),
    ]


def test_a_secondary_key_comes_through_a_union_with_its_own_lineage() -> None:
    flow = plain(event_of("feature_view:flow")["outputs"][0]["facets"]["columnLineage"])
    assert flow["fields"]["amount_sum_by_kind_7d"]["inputFields"] == [
        read("amount", "DIRECT/AGGREGATION", of="source.money"),
        read("kind", "DIRECT/TRANSFORMATION", of="source.money"),
    ]
    assert flow["dataset"] == [read("acct", "INDIRECT/GROUP_BY", of="source.money")]
    money = event_of("source:money")
    assert [each["name"] for each in money["inputs"]] == ["source.card", "source.ach"]
    facet = plain(money["outputs"][0]["facets"]["columnLineage"])
    assert {name: field["inputFields"] for name, field in facet["fields"].items()} == {
        "amount": [
            read("cents", "DIRECT/TRANSFORMATION"),
            read("usd", "DIRECT/TRANSFORMATION", of="source.ach"),
        ],
        "acct": [read("acct", "DIRECT/IDENTITY"), read("acct", "DIRECT/IDENTITY", of="source.ach")],
        "kind": [read("kind", "DIRECT/IDENTITY"), read("kind", "DIRECT/IDENTITY", of="source.ach")],
    }
    assert read("at", "INDIRECT/WINDOW", of="source.ach") in facet["dataset"]


def test_a_source_is_a_dataset_with_owner_tags_and_personal_columns() -> None:
    event = event_of("source:card")
    assert event["schemaURL"].endswith("#/$defs/DatasetEvent")
    facets = plain(event["dataset"]["facets"])
    assert facets["ownership"] == {"owners": [{"name": "payments"}]}
    assert facets["documentation"] == {"description": "Card transactions, corrected for three days."}
    assert facets["tags"] == {
        "tags": [
            {"key": "raw", "value": "true", "source": "ASOF"},
            {"key": "personal", "value": "true", "source": "ASOF", "field": "email"},
        ]
    }
    assert facets["columnLineage"]["fields"] == {
        "cents": {
            "inputFields": [read("amount", "DIRECT/TRANSFORMATION")],
            "transformationDescription": "amount * 100",
        }
    }


def test_deprecation_is_a_tag_of_the_dataset_or_of_the_column() -> None:
    view = plain(event_of("feature_view:spend")["outputs"][0]["facets"]["tags"]["tags"])
    said = {"key": "deprecated", "value": "deprecated from 2027-01-31: use spend", "source": "ASOF"}
    assert {**said, "field": "gambling"} in view
    ach = plain(event_of("source:ach")["dataset"]["facets"]["tags"]["tags"])
    assert ach == [{**said, "value": "deprecated from 2027-06-30: use ach_v2"}]


def test_types_of_csv_columns_are_known_without_reading_the_file() -> None:
    fields = plain(event_of("source:ach")["dataset"]["facets"]["schema"]["fields"])
    assert {field["name"]: field.get("type") for field in fields} == {
        "account_id": "string", "usd": "decimal(12,2)", "at": None, "code": None, "acct": None, "kind": None,
    }  # fmt: skip


def test_services_request_features_labels_and_models_are_jobs_too() -> None:
    service = event_of("feature_service:fraud")
    assert [each["name"] for each in service["inputs"]] == [
        "feature_view.spend", "request_feature.vs_usual", "feature_view.flow",
    ]  # fmt: skip
    fields = plain(service["outputs"][0]["facets"]["columnLineage"]["fields"])
    assert fields["spend_1d"] == {
        "inputFields": [read("amount_sum_1d", "DIRECT/IDENTITY", of="feature_view.spend")]
    }
    assert fields["vs_usual"]["inputFields"] == [
        read("vs_usual", "DIRECT/IDENTITY", of="request_feature.vs_usual")
    ]
    asked = plain(event_of("request_feature:vs_usual")["outputs"][0]["facets"])
    assert asked["schema"]["fields"] == [{"name": "vs_usual", "type": "float64", "ordinal_position": 1}]
    assert asked["columnLineage"]["fields"]["vs_usual"]["inputFields"] == [
        read("amount_sum_1d", "DIRECT/TRANSFORMATION", of="feature_view.spend")
    ]
    label = plain(event_of("label:returned")["outputs"][0]["facets"])
    assert [field["name"] for field in label["schema"]["fields"]] == ["account_id", "returned"]
    assert label["columnLineage"]["fields"]["returned"]["inputFields"] == [
        read("usd", "INDIRECT/FILTER", of="source.ach"),
        read("code", "INDIRECT/FILTER", of="source.ach"),
    ]
    model = event_of("model:fraud")
    assert [each["name"] for each in model["inputs"]] == ["label.returned", "feature_service.fraud"]
    rows = plain(model["outputs"][0]["facets"]["columnLineage"]["dataset"])
    assert read("spend_1d", "INDIRECT", of="feature_service.fraud") in rows
    assert read("returned", "INDIRECT", of="label.returned") in rows


def test_what_is_read_comes_before_what_reads_it_and_entities_have_no_event() -> None:
    names = [_name(event) for event in events_of(BANK, "bank", at_us=AT_US)]
    assert sorted(names) == sorted(
        key.replace(":", ".") for key in BANK.state.specs if not key.startswith("entity:")
    )
    for key, spec in BANK.state.specs.items():
        for ref in spec.refs:
            if not ref.startswith("entity:"):
                assert names.index(ref.replace(":", ".")) < names.index(key.replace(":", "."))


def _name(event: Any) -> str:
    return event.job.name if hasattr(event, "job") else event.dataset.name


def test_the_namespace_is_the_project_and_that_of_another_environment_says_so() -> None:
    for environment, namespace in [("prod", "bank"), ("dev", "bank.dev")]:
        lineage = lineage_of(State(environment, 3, BANK.state.specs), BANK.columns_of)
        event = event_of("model:fraud", lineage)
        places = [event["job"], *event["inputs"], *event["outputs"]]
        assert {each["namespace"] for each in places} == {namespace}


def test_an_object_that_is_gone_is_dropped() -> None:
    event = event_of("feature_view:gone")
    assert plain(event["dataset"]) == {
        "namespace": "bank.local",
        "name": "feature_view.gone",
        "facets": {"lifecycleStateChange": {"lifecycleStateChange": "DROP"}},
    }
    assert events_of(BANK, "bank", at_us=AT_US, keys=["entity:gone"]) == []


@pytest.mark.parametrize(
    ("path", "places"),
    [("s3://lake/card/day=*/x.parquet", [("s3://lake", "card")]),
     ("s3://lake/*.parquet", [("s3://lake", "/")]),
     ("s3://lake/card/x.parquet", [("s3://lake", "card/x.parquet")]),
     ("/data/card/*.parquet", [("file", "/data/card")]),
     ("card/*.parquet", [])],
)  # fmt: skip
def test_a_place_that_other_tools_know_is_told(path: str, places: list[tuple[str, str]]) -> None:
    lineage = lineage_of(state_of([Events("tx", Parquet(path), event_time="at")]), lambda sql: (sql,))
    facets = plain(event_of("source:tx", lineage)["dataset"]["facets"])
    found = facets.get("symlinks", {"identifiers": []})["identifiers"]
    assert [(each["namespace"], each["name"]) for each in found] == places


def test_names_of_columns_are_told_in_one_spelling() -> None:
    account = Entity("account", keys={"id": "string"})
    tx = Events("tx", Parquet("t"), event_time="At", columns={"Cents": "1"})
    view = FeatureView("v", entity=account, source=tx, features=[count("cents").over("1d")])
    lineage = lineage_of(state_of([account, tx, view]), lambda _: ())
    facet = plain(event_of("feature_view:v", lineage)["outputs"][0]["facets"]["columnLineage"])
    (field,) = facet["fields"]["cents_count_1d"]["inputFields"]
    assert field["field"] == "Cents"


# ----------------------------------------------------------------------------------------------------- sending


@contextmanager
def receiver(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A real HTTP server on loopback; gives its URL and what it was sent: (path, JSON)."""
    seen: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, json.loads(body)))
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _created(request: BaseHTTPRequestHandler) -> None:
    request.send_response(201)
    request.send_header("Content-Length", "0")
    request.end_headers()


def config_of(folder: Path, text: str) -> Config:
    (folder / "asof.toml").write_text(f'name = "bank"\n{text}')
    return load_config(folder, {})


EVENTS = events_of(BANK, "bank", at_us=AT_US, keys=["source:card", "feature_view:spend"])


def test_events_go_over_http_to_the_receivers_endpoint() -> None:
    with receiver(_created) as (url, seen):
        emit(EVENTS, url=url)
        emit(EVENTS[:1], url=f"{url}/other/place?x=1")
    assert [path for path, _ in seen] == ["/api/v1/lineage", "/api/v1/lineage", "/other/place?x=1"]
    assert [body for _, body in seen[:2]] == [json.loads(to_json(event)) for event in EVENTS]


def test_events_are_appended_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "events.jsonl"
    emit(EVENTS, file=file)
    emit(EVENTS[:1], file=file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == [json.loads(to_json(event)) for event in [*EVENTS, EVENTS[0]]]


def _hang(request: BaseHTTPRequestHandler) -> None:
    released.wait(10)
    request.close_connection = True


def _fail(request: BaseHTTPRequestHandler) -> None:
    request.send_error(503)


def _drop(request: BaseHTTPRequestHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)


def _babble(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
    request.close_connection = True


def _redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(307)
    request.send_header("Location", request.path)
    request.send_header("Content-Length", "0")
    request.end_headers()


released = threading.Event()


@pytest.mark.parametrize(
    ("answer", "why"),
    [(_hang, "ReadTimeout"), (_fail, "status 503"), (_drop, "ConnectionError"), (_babble, "ConnectionError"),
     (_redirect, "status 307")],
)  # fmt: skip
def test_a_receiver_that_does_not_do_its_work_is_asked_once_and_told_in_the_log(
    answer: Callable[[BaseHTTPRequestHandler], None],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(openlineage, "TIMEOUT_S", 0.2)
    released.clear()
    with receiver(answer) as (url, seen):
        emit(EVENTS, url=url)
        released.set()
    assert len({json.dumps(body) for _, body in seen}) == 1  # the second event is not tried
    assert caplog.messages == [f"lineage events to 127.0.0.1: 0 of 2 sent: {why}"]


@pytest.mark.parametrize("scheme", ["http://{}", "nothing://{}", "http://user:hunter2@{}"])
def test_a_receiver_that_is_not_there_costs_a_warning(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        emit(EVENTS, url=scheme.format(f"127.0.0.1:{taken.getsockname()[1]}"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "127.0.0.1: 0 of 2 sent" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_url_that_is_none_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    emit(EVENTS, url="http://")
    assert "0 of 2 sent" in caplog.text


def test_a_file_that_cannot_be_written_costs_a_warning_and_the_receiver_is_still_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with receiver(_created) as (url, seen):
        emit(EVENTS, file=tmp_path / "file" / "below", url=url)
        emit(EVENTS, file=tmp_path)  # a folder
    assert len(seen) == 2
    assert caplog.text.count("0 of 2 sent") == 2


def test_a_slow_receiver_does_not_hold_a_flow_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()

    def slow(request: BaseHTTPRequestHandler) -> None:
        clock.advance("20s")
        _created(request)

    with receiver(slow) as (url, seen):
        emit([*EVENTS, *EVENTS, *EVENTS], url=url, clock=clock)
    assert len(seen) == 2  # 40 s have passed, of at most 30
    assert caplog.messages == ["lineage events to 127.0.0.1: 2 of 6 sent: after 30 s"]


def test_a_state_is_told_where_the_settings_say(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    state = State("prod", 3, BANK.state.specs)
    changed = ["feature_view:spend", "entity:account", "label:gone"]
    with receiver(_created) as (url, seen):
        config = config_of(tmp_path, f'openlineage.url = "{url}"\nopenlineage.file = "{file}"\n')
        emit_state(state, BANK.columns_of, config, changed, clock=FakeClock("2025-06-30T12:00:00Z"))
    bodies = [body for _, body in seen]
    assert bodies == [json.loads(line) for line in file.read_text().splitlines()]
    assert [(b.get("job") or b["dataset"])["name"] for b in bodies] == ["feature_view.spend", "label.gone"]
    assert {body["eventTime"] for body in bodies} == {"2025-06-30T12:00:00Z"}
    assert bodies[0]["job"]["namespace"] == "bank"


def test_types_that_somebody_knows_are_told(tmp_path: Path) -> None:
    config = config_of(tmp_path, 'openlineage.file = "events.jsonl"\n')
    emit_state(
        BANK.state, BANK.columns_of, config, ["feature_view:spend"],
        types=lambda key: {"amount": DType("int64")} if key == "source:card" else {},
    )  # fmt: skip
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    fields = json.loads(line)["outputs"][0]["facets"]["schema"]["fields"]
    assert {field["name"]: field.get("type") for field in fields}["amount_sum_1d"] == "int64"


def test_nothing_is_told_and_nothing_loaded_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, "")
    monkeypatch.setitem(sys.modules, "openlineage.client.event_v2", None)
    monkeypatch.setitem(sys.modules, "openlineage", None)
    check_openlineage(config)
    emit_state(BANK.state, BANK.columns_of, config, ["feature_view:spend"])
    asked = config_of(tmp_path, 'openlineage.file = "events.jsonl"\n')
    emit_state(BANK.state, BANK.columns_of, asked, [])
    for call in (
        lambda: check_openlineage(asked),
        lambda: emit_state(BANK.state, BANK.columns_of, asked, ["feature_view:spend"]),
        lambda: emit([], file=tmp_path / "x"),
    ):
        with pytest.raises(MissingExtra, match="OpenLineage events needs the 'openlineage' extra"):
            call()
