"""Events into the streams of a project: whole batches or nothing, each once, from many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.errors import CorruptSource, DataError, SourceNotFound, StateError, UnknownName
from asof.flows.project import Project
from asof.flows.push import Pushed, Pusher, open_pushing, push
from asof.flows.push_files import push_file
from asof.streams.decode import decode

DEFINITIONS = """
from asof import CSV, Entity, Events, FeatureView, Kafka, Landed, Log, Union, count

columns = {"account_id": "string", "amount": "decimal(18,2)", "at": "timestamp", "ok": "bool", "known_at": "timestamp"}
payments = Events("payments", Landed(columns=columns), event_time="at", known_at="known_at", stream=Log())
cards = Events(
    "cards", CSV("cards.csv"), event_time="at", known_at="known_at", columns={"double": "2 * cents"},
    stream=Log(partitions=3, partition_by="card"),
)
quiet = Events("quiet", CSV("cards.csv"), event_time="at")
avro = Events("avro", CSV("cards.csv"), event_time="at", known_at="known_at",
              stream=Kafka("t", format="avro", registry="http://localhost:1"))
money = Union("money", [payments, cards])
"""
CARDS = "card,cents,at,known_at\nx,5,2026-01-01T10:00:00Z,2026-01-01T10:00:01Z\n"
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "asof.toml").write_text('name = "bank"\n')
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "cards.csv").write_text(CARDS)
    return asof.open(tmp_path)


@pytest.fixture
def pusher(project: Project) -> Iterator[Pusher]:
    made = Pusher(lambda: project)
    yield made
    made.close()


def rows_of(project: Project, source: str) -> list[dict[str, Any]]:
    """All events of a stream as rows, partition by partition."""
    opened = open_pushing(project, source)
    try:
        found: list[dict[str, Any]] = []
        for partition in sorted(opened.stream.ends()):
            offset = 0
            while chunks := opened.stream.read(partition, offset, 1_000):
                for chunk in chunks:
                    made = decode(chunk, opened.schema)
                    assert made.bad == []
                    found += made.table.to_pylist()
                    offset = chunk.next_offset
        return found
    finally:
        opened.stream.close()


def test_rows_come_out_of_the_stream_as_they_went_in(project: Project):
    rows = [
        {"account_id": "a1", "amount": Decimal("12.05"), "at": AT},
        {"account_id": "b2", "amount": "7", "ok": True},
    ]
    assert push(project, "payments", rows) == Pushed(2, {0: (0, 2)})
    assert push(project, "payments", pd.DataFrame({"account_id": ["c3"], "at": [AT]})) == Pushed(
        1, {0: (2, 1)}
    )
    found = rows_of(project, "payments")
    assert [row["account_id"] for row in found] == ["a1", "b2", "c3"]
    assert [row["amount"] for row in found] == [Decimal("12.05"), Decimal("7.00"), None]
    assert [row["at"] for row in found] == [AT, None, AT]
    assert all(row["known_at"] is not None for row in found)


def test_events_bring_the_columns_of_the_history_and_no_derived_ones(pusher: Pusher):
    assert pusher.opened("cards").schema.names == ("card", "cents", "at")
    with pytest.raises(DataError, match="field 'double': there is no such column"):
        pusher.push("cards", [{"double": 2}])


def test_events_of_one_value_are_in_one_partition_in_their_order(project: Project, pusher: Pusher):
    made = pusher.push("cards", [{"card": f"c{n % 7}", "cents": n} for n in range(70)])
    assert made.count == 70
    assert sum(count for _, count in made.places.values()) == 70
    assert len(made.places) > 1
    found = rows_of(project, "cards")
    for card in range(7):
        assert [row["cents"] for row in found if row["card"] == f"c{card}"] == list(range(card, 70, 7))


@pytest.mark.parametrize("source", ["payments", "cards"])
def test_of_a_batch_with_a_bad_event_nothing_is_appended(project: Project, pusher: Pusher, source: str):
    with pytest.raises(DataError, match="event 1: field 'at'"):
        pusher.push_json(source, b'[{}, {"at": "yesterday"}]')
    assert rows_of(project, source) == []


@pytest.mark.parametrize("source", ["payments", "cards"])
def test_a_batch_is_appended_once_under_its_key(project: Project, pusher: Pusher, source: str):
    body = b'[{"at": "2026-01-31"}, {"at": "2026-02-01"}]'
    first = pusher.push_json(source, body, idempotency_key="k")
    again = pusher.push_json(source, body, idempotency_key="k")
    assert (first.repeated, again.repeated, again.places) == (False, True, first.places)
    assert push(project, source, [{}, {}], idempotency_key="k").repeated  # also of another process
    with pytest.raises(DataError, match="another batch was appended with this idempotency key"):
        push(project, source, [{}], idempotency_key="k")
    assert len(rows_of(project, source)) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "\n", "ü"])
def test_an_idempotency_key_is_visible_ascii(pusher: Pusher, key: str):
    with pytest.raises(DataError, match="idempotency key"):
        pusher.push("payments", [{}], idempotency_key=key)


def test_an_empty_batch_is_nothing(project: Project, pusher: Pusher):
    assert pusher.push("payments", []) == pusher.push_json("payments", b"[]") == Pushed(0)
    assert rows_of(project, "payments") == []


def test_many_threads_lose_nothing(project: Project, pusher: Pusher):
    def work(number: int) -> None:
        for n in range(20):
            pusher.push("payments", [{"account_id": f"{number}-{n}"}])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = [row["account_id"] for row in rows_of(project, "payments")]
    assert sorted(found) == sorted(f"{number}-{n}" for number in range(8) for n in range(20))
    for number in range(8):
        assert [a for a in found if a.startswith(f"{number}-")] == [f"{number}-{n}" for n in range(20)]


def test_a_source_that_takes_no_events_says_why(pusher: Pusher):
    with pytest.raises(UnknownName, match="did you mean 'payments'"):
        pusher.push("payment", [{}])
    with pytest.raises(StateError, match=r"'quiet' has no stream.*\n.*stream=Log\(\)"):
        pusher.push("quiet", [{}])
    with pytest.raises(StateError, match="Avro"):
        pusher.push("avro", [{}])


def test_new_definitions_hold_after_a_refresh(project: Project):
    now = [project]
    pusher = Pusher(lambda: now[0])
    pusher.push("payments", [{"account_id": "a1"}])
    with pytest.raises(DataError, match="'note'"):
        pusher.push("payments", [{"note": "x"}])
    file = project.root / "definitions.py"
    file.write_text(file.read_text().replace('"ok": "bool"', '"ok": "bool", "note": "string"'))
    now[0] = asof.open(project.root)
    pusher.refresh()
    assert pusher.push("payments", [{"note": "x"}]).places == {0: (1, 1)}
    file.write_text(
        file.read_text().replace("stream=Log(), ", "").replace("stream=Log())", "stream=Log(retention='1d'))")
    )
    now[0] = asof.open(project.root)
    pusher.refresh()
    assert pusher.push("payments", [{"note": "y"}]).places == {0: (2, 1)}
    pusher.close()
    with pytest.raises(StateError, match="closed"):
        pusher.push("payments", [{}])


def pushed(pusher: Pusher, file: Path, size: int = 2, key: str | None = None) -> list[Pushed]:
    return list(push_file(pusher, "payments", str(file), None, size=size, idempotency_key=key))


def table_file(folder: Path, ending: str) -> Path:
    """Five events in a file of each format."""
    table = pa.table(
        {"account_id": list("abcde"), "amount": ["1.10", "2.20", "3.30", "4.40", "5.50"], "at": [AT] * 5}
    )
    table = table.set_column(1, "amount", table["amount"].cast(pa.decimal128(18, 2)))
    file = folder / f"new{ending}"
    if ending == ".parquet":
        pq.write_table(table, file)
    elif ending in {".arrow", ".feather"}:
        new = pa.ipc.new_file if ending == ".arrow" else pa.ipc.new_stream
        with pa.OSFile(str(file), "wb") as out, new(out, table.schema) as writer:
            writer.write_table(table)
    elif ending == ".csv":
        lines = [f"{row['account_id']},{row['amount']},{row['at'].isoformat()}," for row in table.to_pylist()]
        file.write_text("account_id,amount,at,ok\n" + "\n".join(lines) + "\n")
    else:
        events = [
            f'{{"account_id":"{row["account_id"]}","amount":{row["amount"]},"at":"{row["at"].isoformat()}"}}'
            for row in table.to_pylist()
        ]
        file.write_text("[" + ",\n".join(events) + "]" if ending == ".json" else "\n\n".join(events))
    return file


@pytest.mark.parametrize("ending", [".json", ".ndjson", ".jsonl", ".csv", ".parquet", ".arrow", ".feather"])
def test_files_of_every_format_are_pushed_in_batches(project: Project, pusher: Pusher, ending: str):
    file = table_file(project.root, ending)
    assert [each.count for each in pushed(pusher, file, key="k")] == [2, 2, 1]
    assert [each.repeated for each in pushed(pusher, file, key="k")] == [True] * 3
    found = rows_of(project, "payments")
    assert [row["account_id"] for row in found] == list("abcde")
    assert [row["amount"] for row in found] == [Decimal(t) for t in ("1.10", "2.20", "3.30", "4.40", "5.50")]
    assert [row["at"] for row in found] == [AT] * 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("new.json", "[{]"),
        ("new.csv", "account_id,amount\na\n"),
        ("new.csv", "account_id\na,b\n"),
        ("new.csv", b"account_id\n\xff\n"),
        ("new.parquet", "PAR1"),
        ("new.arrow", "ARROW1"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_refused(project: Project, pusher: Pusher, name: str, text: Any):
    file = project.root / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorruptSource, match=r"new\."):
        pushed(pusher, file)
    assert rows_of(project, "payments") == []


def test_a_bad_event_in_a_file_tells_what_went_before_it(project: Project, pusher: Pusher):
    file = project.root / "new.ndjson"
    file.write_text('{"account_id":"a"}\n{"account_id":"b"}\n{"account_id":"c"}\n{"account_id":7}\n')
    with pytest.raises(
        DataError, match=r"event 1: field 'account_id'.*; the 2 events before its batch"
    ) as told:
        pushed(pusher, file)
    assert told.value.facts["pushed"] == 2
    assert [row["account_id"] for row in rows_of(project, "payments")] == ["a", "b"]


def test_a_file_that_is_not_there_or_of_no_format_is_told(project: Project, pusher: Pusher):
    with pytest.raises(SourceNotFound):
        pushed(pusher, project.root / "no.csv")
    with pytest.raises(DataError, match=r"\.csvv"):
        pushed(pusher, project.root / "no.csvv")
