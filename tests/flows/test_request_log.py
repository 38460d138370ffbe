"""The log of reads: its columns' types, what is lost when rows cannot be written, and what is read of it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from asof import Entity, Events, FeatureService, FeatureView, InMemory, Project, count, request_feature
from asof.flows import request_log
from asof.flows.answer import Answer
from asof.flows.request_log import RequestLog, log_rows, read_log
from asof.flows.skew import replay
from asof.online.open_store import open_store
from asof.testing.clock import FakeClock
from asof.types import DType

DAY = 86_400_000_000
MARCH = datetime(2025, 3, 1, tzinfo=UTC)


def answer(*values: int, at: int = 0) -> Answer:
    ones = np.ones((len(values), 1))
    column = np.array(values).reshape(-1, 1)
    return Answer("risk", at, ("n",), (DType("int64"),), column, ones > 0, (ones * 0).astype(np.uint8))


def column(values: Any) -> pa.ChunkedArray:
    return log_rows({"k": values}, None, answer(*range(len(values))))["key:k"]


@pytest.mark.parametrize(
    ("given", "kind", "held"),
    [
        ([1, None, 2**62], pa.int64(), [1, None, 2**62]),
        ([1, 2**63], pa.string(), ["1", str(2**63)]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**60 + 1, 2.5], pa.string(), [str(2**60 + 1), "2.5"]),
        (["a", None], pa.string(), ["a", None]),
        (["a", 1, True], pa.string(), ["a", "1", "true"]),
        ([True, False], pa.bool_(), [True, False]),
        ([True, 2], pa.string(), ["true", "2"]),
        ([Decimal("1.50"), Decimal("1E+3")], pa.string(), ["1.50", "1000"]),
        ([Decimal("0.1"), 2], pa.string(), ["0.1", "2"]),
        ([None, None], pa.null(), [None, None]),
        ([np.int32(1), np.float64(2)], pa.float64(), [1.0, 2.0]),
        (np.array([1, 2]), pa.int64(), [1, 2]),
        (pa.array([Decimal("1.5")]), pa.decimal128(2, 1), [Decimal("1.5")]),
        ([MARCH.replace(tzinfo=None), MARCH], request_log.TIMES, [MARCH, MARCH]),
        ([MARCH.astimezone(timezone(timedelta(hours=5)))], request_log.TIMES, [MARCH]),
        ([MARCH.replace(tzinfo=None), "x"], pa.string(), ["2025-03-01T00:00:00+00:00", "x"]),
        ([MARCH.date()], pa.date32(), [MARCH.date()]),
        ([[1, 2], None], pa.list_(pa.int64()), [[1, 2], None]),
    ],
)
def test_values_of_one_kind_have_one_type_and_all_others_are_text(given, kind, held):
    made = column(given)
    assert (made.type, made.to_pylist()) == (kind, held)


@pytest.mark.parametrize(
    ("reads", "kind", "held"),
    [
        ([[1], [2.5], [None]], pa.float64(), [1.0, 2.5, None]),
        ([[2**60 + 1], [2.5]], pa.string(), [str(2**60 + 1), "2.5"]),
        ([[1], ["a"], [True]], pa.string(), ["1", "a", "true"]),
        ([[[1]], [["a"]]], pa.string(), ["[1]", "['a']"]),
        ([pa.array([Decimal("12345678901234.56")]), [0.5]], pa.string(), ["12345678901234.56", "0.5"]),
        ([pa.array([Decimal("1.5")]), pa.array([Decimal("0.25")])], None, [Decimal("1.50"), Decimal("0.25")]),
    ],
)
@pytest.mark.parametrize("batch_rows", [1, 10])
def test_reads_of_different_types_are_one_column_in_one_file_or_several(
    tmp_path, monkeypatch, reads, kind, held, batch_rows
):
    names = iter(range(99))  # files are read in the order of their names
    monkeypatch.setattr(request_log.os, "urandom", lambda _: bytes([next(names)]))
    with RequestLog(tmp_path, batch_rows=batch_rows) as log:
        for values in reads:
            log.write("risk", {"k": values}, {"other": values}, answer(1))
    rows = read_log(tmp_path, "risk")
    for name in ("key:k", "request:other"):
        assert rows[name].to_pylist() == held
        assert kind in {None, rows[name].type}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_rows_that_cannot_be_written_are_lost_once_and_all_others_are_there(tmp_path):
    (tmp_path / "bad").write_text("a file where the folder should be")
    log = RequestLog(tmp_path)
    for service in ("first", "bad", "last"):
        log.write(service, {"k": [service]}, None, answer(1))
    with pytest.raises(OSError, match="bad"):
        log.flush()
    log.flush()
    assert [path.parts[-3] for path in files(tmp_path) if path.suffix] == ["first", "last"]
    assert (log._held, log._rows) == ({}, 0)


def test_a_file_that_breaks_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    log = RequestLog(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(request_log.pq, "write_table", broken)
        log.write("risk", {"k": ["a"]}, None, answer(1))
        with pytest.raises(OSError, match="no space left"):
            log.flush()
    assert files(tmp_path) == []


def test_no_more_than_a_batch_is_ever_held(tmp_path):
    (tmp_path / "bad").write_text("")
    log = RequestLog(tmp_path, batch_rows=3)
    for number in range(20):
        with suppress(OSError):
            log.write(("bad", "good")[number % 2], {"k": [(1, "x")[number % 3 % 2]]}, None, answer(1))
        assert log._rows == sum(t.num_rows for tables in log._held.values() for t in tables) < 3


def written(folder: Path, reads: list[tuple[int, list[int]]]) -> None:
    for at, values in reads:
        with RequestLog(folder) as log:
            log.write("risk", {"k": values}, None, answer(*values, at=at))


def test_the_newest_rows_are_those_of_the_whole_log(tmp_path):
    draw = np.random.default_rng(5)
    instants = draw.integers(0, 6 * DAY // 1000, 60) * 1000
    written(tmp_path, [(int(at), [number, -number]) for number, at in enumerate(instants)])
    whole = read_log(tmp_path, "risk")
    assert whole["at"].to_pylist() == sorted(whole["at"].to_pylist())
    for limit in (1, 2, 7, 50, 119, 120, 500):
        assert read_log(tmp_path, "risk", limit=limit) == whole.slice(max(0, whole.num_rows - limit))
    part = read_log(tmp_path, "risk", since_us=DAY, until_us=4 * DAY + 5)
    assert 0 < part.num_rows < 120
    newest = read_log(tmp_path, "risk", since_us=DAY, until_us=4 * DAY + 5, limit=3)
    assert newest == part.slice(part.num_rows - 3)


def test_of_equal_instants_the_same_rows_are_the_newest(tmp_path):
    written(tmp_path, [(at, [number]) for number, at in enumerate([5, 7, 5, 7, 7, 5, 7])])
    whole = read_log(tmp_path, "risk")
    for limit in range(1, 8):
        assert read_log(tmp_path, "risk", limit=limit) == whole.slice(7 - limit)


def test_older_days_are_not_read_when_the_newest_are_enough(tmp_path):
    written(tmp_path, [(0, [1]), (DAY, [2]), (2 * DAY, [3, 4])])
    (old,) = (tmp_path / "risk" / "1970-01-01").iterdir()
    old.write_text("no longer a log")
    assert read_log(tmp_path, "risk", limit=3)["key:k"].to_pylist() == [2, 3, 4]


def test_nothing_in_the_time_that_is_asked_is_no_rows(tmp_path):
    written(tmp_path, [(5, [1])])
    assert read_log(tmp_path, "risk", since_us=6, limit=3).num_rows == 0


def test_decimals_are_replayed_exactly_however_they_were_given(tmp_path):
    at = pa.array([MARCH], request_log.TIMES)
    table = pa.table({"account": ["ann"], "at": at})
    view = FeatureView(
        "activity", entity=Entity("account", keys={"account": "string"}),
        source=Events("tx", InMemory(table), event_time="at"), features=[count().over("1d").named("n")],
    )  # fmt: skip

    @request_feature(inputs=[view["n"]], request={"amount": "decimal(18,2)", "rate": "float64"})
    def total(amount, rate, n):
        return amount * n * rate

    service = FeatureService("risk", [view, total])
    project = Project(objects=[service], clock=FakeClock(MARCH + timedelta(hours=1)))
    store = open_store("lmdb:///online", root=tmp_path)
    project.materialize(store=store)
    reader = project.online(store=store)
    amounts = ["9007199254740993.01", Decimal("1234567890123456.78"), 12.25, 7.0, Decimal("5.1"), None]
    with RequestLog(tmp_path / "log") as log:
        for amount in amounts:
            asked = {"amount": [amount], "rate": [Decimal("0.1") if amount == 7 else 0.30000000000000004]}
            log.write("risk", {"account": ["ann"]}, asked, reader.read("risk", {"account": ["ann"]}, asked))
    rows = read_log(tmp_path / "log", "risk")
    assert rows["request:amount"].to_pylist() == [None if each is None else str(each) for each in amounts]
    exact = [None if each is None else Decimal(str(each)) for each in amounts]
    assert rows["request:amount"].cast(pa.decimal128(18, 2)).to_pylist() == exact
    report = replay(project, service, rows)
    store.close()
    assert (report.different, report.compared) == (0, 12), report.differences
