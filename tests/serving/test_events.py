"""`POST /v1/events/SOURCE`: bodies, answers and errors, what is durable, and that reads do not wait for appends."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow as pa
import pytest

import asof
from asof.errors import BackendError, DataError, StateError, UnknownName
from asof.flows.project import Project
from asof.flows.push import Pushed, Pusher
from asof.serving.app import App, Limits
from asof.serving.build import Options, build_app
from asof.serving.client_protocol import Accepted
from tests.flows.test_push import CARDS, DEFINITIONS, rows_of
from tests.serving.double import DictReader
from tests.serving.inside import features, with_app
from tests.serving.live import Live

ROOT = Path(__file__).parents[2]
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = "a-key-of-16-characters"


def folder_of(folder: Path) -> Path:
    (folder / "asof.toml").write_text('name = "bank"\n')
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "cards.csv").write_text(CARDS)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return asof.open(folder_of(tmp_path))


def app_of(project: Project | Pusher | None, reader: DictReader | None = None, **options: Any) -> App:
    pusher = Pusher(lambda: project) if isinstance(project, Project) else project
    return build_app(reader or DictReader(), Options(access_log="off", **options), pusher=pusher)


def send(
    app: App, *bodies: Any, source: str = "payments", media: str = "application/json", **headers: str
) -> Any:
    """The answers to some pushes, or the one answer."""

    async def scenario(client: httpx.AsyncClient) -> list[httpx.Response]:
        head = {"content-type": media, **{name.replace("_", "-"): text for name, text in headers.items()}}
        return [await client.post(f"/v1/events/{source}", content=body, headers=head) for body in bodies]

    answers = with_app(app, scenario)
    return answers[0] if len(answers) == 1 else answers


def stream_of(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", b'[{"account_id": "a1"}, {"account_id": "b2"}]'),
        ("application/json; charset=utf-8", b' {"events": [{"account_id": "a1"}, {"account_id": "b2"}]}'),
        (NDJSON, b'{"account_id": "a1"}\n{"account_id": "b2"}'),
        (ARROW, stream_of(pa.table({"account_id": ["a1", "b2"]}))),
    ],
)
def test_events_of_every_media_type_are_durable_when_they_are_answered(
    project: Project, media: str, body: bytes
):
    made = send(app_of(project), body, media=media)
    assert (made.status_code, made.json()) == (200, {"count": 2, "repeated": False, "offsets": {"0": [0, 2]}})
    assert [row["account_id"] for row in rows_of(project, "payments")] == ["a1", "b2"]


def test_a_batch_that_is_sent_again_under_its_key_is_appended_once(project: Project):
    first, again = send(app_of(project), b"[{}]", b"[{}]", idempotency_key="k-1")
    assert first.json() == {"count": 1, "repeated": False, "offsets": {"0": [0, 1]}}
    assert again.json() == {"count": 1, "repeated": True, "offsets": {"0": [0, 1]}}
    assert len(rows_of(project, "payments")) == 1
    assert error_of(send(app_of(project), b"[{}]", idempotency_key="x" * 256)) == (400, "data_error")


def test_a_bad_event_is_told_by_number_and_field_and_nothing_is_appended(project: Project):
    answer = send(app_of(project), b'[{"account_id": "a1"}, {"amount": "secret"}]')
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "data_error")
    assert (error["facts"]["event"], error["facts"]["field"]) == (1, "amount")
    assert "secret" not in answer.text
    assert rows_of(project, "payments") == []


def test_an_unknown_field_is_refused_with_the_nearest(project: Project):
    error = send(app_of(project), b'[{"acount_id": "a1"}]').json()["error"]
    assert (error["facts"]["field"], error["hint"]) == ("acount_id", "did you mean 'account_id'?")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[", b'{"events": {}}', b'{"events": [], "x": 1}', b"7", b"\xff", b"[7]"]
)
def test_what_is_no_array_of_events_is_a_bad_request(project: Project, body: bytes):
    assert send(app_of(project), body).status_code == 400


@pytest.mark.parametrize(
    ("media", "body"), [(NDJSON, b"7"), (NDJSON, b"{}{}"), (NDJSON, b"\xff"), (ARROW, b"[{}]")]
)
def test_a_body_that_is_not_what_its_media_type_says_is_a_bad_request(
    project: Project, media: str, body: bytes
):
    assert send(app_of(project), body, media=media).status_code == 400


def test_sources_that_take_no_events_are_told_apart(project: Project):
    app = app_of(project)
    assert error_of(send(app, b"[{}]", source="quiet")) == (409, "no_stream")
    assert error_of(send(app_of(project), b"[{}]", source="avro")) == (409, "no_stream")
    nothing = send(app_of(project), b"[{}]", source="payment")
    assert error_of(nothing) == (404, "not_found")
    assert nothing.json()["error"]["hint"] == "did you mean 'payments'?"
    assert error_of(send(app_of(None), b"[{}]")) == (404, "not_found")


def test_other_media_types_and_methods_and_large_bodies_are_refused(project: Project):
    assert error_of(send(app_of(project), b"a,b", media="text/csv")) == (415, "unsupported_media_type")
    small = app_of(project, limits=Limits(body_bytes=1_000))
    assert error_of(send(small, b"[" + b" " * 1_000 + b"]")) == (413, "body_too_large")

    async def scenario(client: httpx.AsyncClient):
        assert (await client.get("/v1/events/payments")).status_code == 405

    with_app(app_of(project), scenario)


def test_the_route_asks_for_the_servers_key(project: Project):
    assert error_of(send(app_of(project, keys=(KEY,)), b"[{}]")) == (401, "unauthorized")
    assert send(app_of(project, keys=(KEY,)), b"[{}]", authorization=f"Bearer {KEY}").status_code == 200


class Held(Pusher):
    """Appends when it is let go, or never."""

    def __init__(self, project: Project, error: BackendError | None = None) -> None:
        super().__init__(lambda: project)
        self.gate = Event()
        self.error = error

    def push_json(self, source: str, body: bytes, *, idempotency_key: str | None = None) -> Pushed:
        if self.error is not None:
            raise self.error
        self.gate.wait(60)
        return super().push_json(source, body, idempotency_key=idempotency_key)


def test_a_stream_that_is_down_is_told_and_whether_to_come_back(project: Project):
    down = send(app_of(Held(project, BackendError("the brokers are away", retryable=True))), b"[{}]")
    assert (*error_of(down), down.headers["retry-after"]) == (503, "backend_error", "1")
    broken = send(app_of(Held(project, BackendError("the disk is broken"))), b"[{}]")
    assert (error_of(broken), "retry-after" in broken.headers) == ((503, "backend_error"), False)


def test_reads_go_on_while_appends_wait_and_only_so_many_wait(project: Project):
    held = Held(project)

    async def scenario(client: httpx.AsyncClient):
        def push() -> Any:
            return asyncio.create_task(client.post("/v1/events/payments", json=[{}]))

        waiting = [push() for _ in range(9)]  # 1 thread, 8 that wait
        while not any(task.done() for task in waiting):
            assert (await features(client)).status_code == 200
            waiting.append(push())
            await asyncio.sleep(0)  # what is read at once does not let the others begin
        assert {error_of(task.result()) for task in waiting if task.done()} == {(503, "overloaded")}
        held.gate.set()
        made = [await task for task in waiting]
        assert sorted({answer.status_code for answer in made}) == [200, 503]

    with_app(app_of(held, threads=1), scenario)
    held.gate.set()


def test_a_request_meets_its_deadline_and_its_key_makes_it_safe_to_send_again(project: Project):
    held = Held(project)

    async def scenario(client: httpx.AsyncClient):
        headers = {"idempotency-key": "k", "x-asof-deadline-ms": "50"}
        late = await client.post("/v1/events/payments", json=[{}], headers=headers)
        assert error_of(late) == (504, "deadline_exceeded")
        held.gate.set()
        again = await client.post("/v1/events/payments", json=[{}], headers={"idempotency-key": "k"})
        assert (again.status_code, again.json()["offsets"]) == (200, {"0": [0, 1]})

    with_app(app_of(held), scenario)
    assert len(rows_of(project, "payments")) == 1


def test_what_was_pushed_is_counted_by_source(project: Project):
    async def scenario(client: httpx.AsyncClient) -> str:
        for _ in range(2):
            await client.post("/v1/events/payments", json=[{}, {}], headers={"idempotency-key": "k"})
        await client.post("/v1/events/nothing", json=[{}])
        return (await client.get("/metrics")).text

    lines = with_app(app_of(project), scenario).splitlines()
    assert 'asof_events_pushed_total{source="payments"} 2.0' in lines
    assert 'asof_events_repeated_total{source="payments"} 2.0' in lines
    assert 'asof_events_push_seconds_count{source="payments"} 2.0' in lines
    assert 'asof_http_requests_total{route="/v1/events/",status="404"} 1.0' in lines
    assert not [line for line in lines if "nothing" in line]


def test_a_new_revision_brings_the_new_definitions_of_sources(project: Project):
    reader = DictReader()
    pusher = Pusher(lambda: asof.open(project.root))

    async def scenario(client: httpx.AsyncClient):
        assert (await client.post("/v1/events/payments", json=[{"note": "x"}])).status_code == 400
        file = project.root / "definitions.py"
        file.write_text(file.read_text().replace('"ok": "bool"', '"ok": "bool", "note": "string"'))
        reader.next_revision = 99
        answer = await client.post("/v1/events/payments", json=[{"note": "x"}])
        while answer.status_code == 400:
            await asyncio.sleep(0.01)
            answer = await client.post("/v1/events/payments", json=[{"note": "x"}])
        assert answer.json()["count"] == 1

    with_app(app_of(pusher, reader, refresh_s=0.01), scenario)


# -- a live server and the clients ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Path]]:
    folder = folder_of(tmp_path_factory.mktemp("bank"))
    command = [sys.executable, "-m", "tests.serving.run_events"]
    live = Live.start(lambda port: [*command, str(port), str(folder)], folder / "log", cwd=ROOT)
    yield live, folder
    live.stop()


def test_the_clients_push_rows_and_tables(taking: tuple[Live, Path]):
    live, folder = taking
    rows = [{"account_id": "a1", "at": AT}]
    with asof.Client(live.url, timeout_s=20) as client:
        first = client.push("payments", rows, idempotency_key="one")
        assert client.push("payments", rows, idempotency_key="one") == Accepted(
            1, first.offsets, repeated=True
        )
        assert client.push("payments", pa.table({"account_id": ["b2"], "at": [AT]})).count == 1
        assert client.push("payments", rows).repeated is False  # each call has a key of its own
        with pytest.raises(DataError, match="field 'at'"):
            client.push("payments", [{"at": "yesterday"}])
        with pytest.raises(DataError, match="NaN"):
            client.push("payments", [{"amount": float("nan")}])
        with pytest.raises(UnknownName, match="no source 'nothing'"):
            client.push("nothing", rows)
        with pytest.raises(StateError, match="no stream"):
            client.push("quiet", rows)

    async def scenario() -> Accepted:
        async with asof.AsyncClient(live.url, timeout_s=20) as client:
            return await client.push("payments", rows, idempotency_key="one")

    assert asyncio.run(scenario()) == Accepted(1, first.offsets, repeated=True)
    accounts = [row["account_id"] for row in rows_of(asof.open(folder), "payments")]
    assert accounts == ["a1", "b2", "a1"]


def test_what_was_answered_outlives_a_server_that_is_killed(tmp_path: Path):
    folder = folder_of(tmp_path)
    command = [sys.executable, "-m", "tests.serving.run_events"]
    live = Live.start(lambda port: [*command, str(port), str(folder)], folder / "log", cwd=ROOT)
    try:
        with asof.Client(live.url, timeout_s=20) as client:
            for number in range(20):
                client.push("cards", [{"card": f"c{number}", "cents": number}])
        for worker in live.children():
            os.kill(worker, signal.SIGKILL)
    finally:
        live.process.kill()
        live.process.wait()
    assert sorted(row["cents"] for row in rows_of(asof.open(folder), "cards")) == list(range(20))
