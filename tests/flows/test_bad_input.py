"""Bad input gets one clear error that names the thing, and nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import asof
from asof.define.source import Mapped
from asof.engines.scan import Scan
from asof.errors import (
    AsofError,
    CorruptSource,
    DataError,
    DefinitionError,
    DuplicateRows,
    MissingColumn,
    NumericOverflow,
    SourceNotFound,
    UnknownName,
    UserCodeError,
    WrongType,
)
from asof.types import DType
from tests.flows.conftest import HOUR, ROWS, spine_of

ACCOUNT = asof.Entity("account", keys={"account_id": "string"})
GOOD = spine_of([("a", 3)])


def _view(source: asof.Events, *features: object, entity: asof.Entity = ACCOUNT) -> asof.FeatureView:
    return asof.FeatureView(
        "v", entity=entity, source=source, features=list(features) or [asof.count().over("1d")]
    )


def _events(history: object = None, **changes: object) -> asof.Events:
    facts: dict[str, object] = {"event_time": "at", **changes}
    return asof.Events("tx", asof.InMemory(ROWS) if history is None else history, **facts)


def _fails(
    view: asof.FeatureView, kind: type[AsofError], *words: str, spine: object = GOOD, **options: object
) -> AsofError:
    with pytest.raises(kind) as caught:
        asof.Project([view]).training_set([view], spine=spine, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return caught.value


def test_a_missing_column_of_a_feature_is_named_with_the_nearest_one() -> None:
    _fails(_view(_events(), asof.sum("amuont").over("1d")), MissingColumn, "'tx'", "'amuont'", "'amount'")


def test_a_missing_time_column_is_named() -> None:
    _fails(
        _view(_events(event_time="when")), MissingColumn, "'when'", "allowed: account_id, amount, at, note"
    )


def test_a_missing_entity_key_is_named() -> None:
    entity = asof.Entity("account", keys={"account": "string"})
    spine = GOOD.rename_columns(["account", "event_time"])
    _fails(_view(_events(), entity=entity), MissingColumn, "'account'", "'account_id'", spine=spine)


def test_a_time_column_of_text_is_refused_with_the_cure() -> None:
    _fails(_view(_events(event_time="note")), WrongType, "'note'", "string", "columns=")


def test_an_entity_key_of_another_type_is_refused_with_the_cure() -> None:
    entity = asof.Entity("account", keys={"account_id": "int64"})
    spine = pa.table({"account_id": [1], "event_time": GOOD["event_time"]})
    _fails(_view(_events(), entity=entity), WrongType, "'account_id'", "BIGINT", "cast(", spine=spine)


def test_a_spine_key_of_another_type_is_refused() -> None:
    spine = pa.table({"account_id": [1.5], "event_time": GOOD["event_time"]})
    _fails(_view(_events()), WrongType, "spine", "'account_id'", "double", spine=spine)


def test_a_spine_without_its_key_is_refused_with_the_nearest_name() -> None:
    spine = GOOD.rename_columns(["acount_id", "event_time"])
    _fails(_view(_events()), MissingColumn, "'account_id'", "'acount_id'", spine=spine)


def test_a_spine_without_a_time_is_refused() -> None:
    _fails(_view(_events()), MissingColumn, "no column of times", spine=GOOD.select(["account_id"]))


def test_a_spine_with_two_times_asks_which() -> None:
    spine = GOOD.rename_columns(["account_id", "t1"]).append_column("t2", GOOD["event_time"])
    _fails(_view(_events()), MissingColumn, "t1, t2", 'time="..."', spine=spine)


def test_a_spine_time_of_text_is_refused() -> None:
    spine = pa.table({"account_id": ["a"], "event_time": ["2024-01-01"]})
    _fails(_view(_events()), WrongType, "event_time", "string", spine=spine)


def test_a_spine_that_is_no_table_is_refused() -> None:
    _fails(_view(_events()), DataError, "int is not a table", spine=3)
    _fails(_view(_events()), DataError, "neither a file asof reads nor a query", spine="rows.xlsx")


def test_a_spine_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    _fails(_view(_events()), SourceNotFound, "nothing.parquet", spine=str(tmp_path / "nothing.parquet"))


def test_repeated_row_ids_are_counted() -> None:
    spine = spine_of([("a", 3), ("a", 4)]).append_column("id", pa.array([1, 1]))
    _fails(_view(_events()), DuplicateRows, "1 of 2 rows", "'id'", spine=spine, row_id="id")


def test_a_feature_that_has_a_spine_columns_name_is_refused() -> None:
    spine = GOOD.append_column("count_1d", pa.array([1]))
    _fails(_view(_events()), DefinitionError, "'count_1d'", "twice", spine=spine)


def test_times_without_a_zone_are_refused_where_the_source_declares_one() -> None:
    _fails(_view(_events(zone="America/New_York")), WrongType, "no zone", "'tx'")


def test_a_glob_without_a_file_is_named(tmp_path: Path) -> None:
    source = _events(asof.Parquet(str(tmp_path / "nothing-*.parquet")))
    _fails(_view(source), SourceNotFound, "'tx'", "nothing-*.parquet", "is there, what follows is not")


@pytest.mark.parametrize(
    ("keep", "said"), [(0, "is empty"), (100, "is half-written"), (-4, "is half-written")]
)
def test_a_half_written_parquet_file_is_told(bank: Path, keep: int, said: str) -> None:
    data = (bank / "tx.parquet").read_bytes()
    (bank / "tx.parquet").write_bytes(data[:keep])
    _fails(_view(_events(asof.Parquet(str(bank / "tx.parquet")))), CorruptSource, "tx.parquet", said)


def test_a_parquet_file_with_a_broken_footer_is_told(bank: Path) -> None:
    data = (bank / "tx.parquet").read_bytes()
    (bank / "tx.parquet").write_bytes(data[: len(data) // 2] + b"\xff" * 40 + data[-8:])
    _fails(_view(_events(asof.Parquet(str(bank / "tx.parquet")))), CorruptSource, "'tx'")


def test_another_file_under_a_parquet_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "tx.parquet").write_text("account_id,at\n")
    _fails(_view(_events(asof.Parquet(str(tmp_path / "tx.parquet")))), CorruptSource, "is not a Parquet file")


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("amount >", "is not an SQL expression"),
        ("amount > 1; drop table x", "is not an sql expression"),
        ("(select max(amount) from asof_row) > 1", "a subquery"),
        ("sum(amount) over () > 1", "a window function"),
        ("1) from asof_row --", "is not an SQL expression"),
        ("no_such(amount) > 1", "no_such"),
        ("sum(amount) > 1", "aggregate"),
    ],
)
def test_sql_that_is_no_plain_expression_is_refused(sql: str, word: str) -> None:
    view = _view(_events(), asof.count().where(sql).over("1d").named("n"))
    error = _fails(view, DefinitionError)
    assert word in str(error).lower() or word in str(error), str(error)


def test_a_predicate_that_is_no_truth_value_is_refused() -> None:
    view = _view(_events(), asof.count().where("amount").over("1d").named("n"))
    _fails(view, WrongType, "'amount'", "not true or false")


def test_a_predicate_with_an_unknown_column_names_the_nearest() -> None:
    view = _view(_events(), asof.count().where("amuont > 1").over("1d").named("n"))
    _fails(view, MissingColumn, "'amuont'", "'amount'")


def test_a_sum_of_text_is_refused() -> None:
    _fails(_view(_events(), asof.sum("note").over("1d")), WrongType, "sum", "'note'", "string")


def test_a_sum_that_does_not_fit_is_an_error_and_never_wraps() -> None:
    big = pa.table(
        {"account_id": ["a", "a"], "n": [2**62, 2**62], "at": pa.array([HOUR, 2 * HOUR], pa.timestamp("us"))}
    )
    view = _view(_events(asof.InMemory(big)), asof.sum("n").over("1d"))
    _fails(view, NumericOverflow, "n_sum_1d", "64 bits")


def test_a_decimal_that_does_not_fit_is_an_error() -> None:
    wide = pa.table(
        {
            "account_id": ["a"],
            "d": pa.array([Decimal(10) ** 25], pa.decimal128(38, 2)),
            "at": pa.array([HOUR], pa.timestamp("us")),
        }
    )
    _fails(_view(_events(asof.InMemory(wide)), asof.sum("d").over("1d")), NumericOverflow, "'d'", "18 digits")


def test_a_cast_that_fails_does_not_repeat_the_value() -> None:
    source = _events(columns={"n": "cast(note as integer)"})
    error = _fails(_view(source, asof.sum("n").over("1d")), DataError, "'tx'", "try_cast")
    assert "'x'" not in str(error)
    assert error.__cause__ is None


def test_a_request_function_that_raises_is_told_as_the_users() -> None:
    @asof.request_feature(request={"amount": "float64"})
    def broken(amount: object) -> object:
        raise ValueError(len(amount))  # type: ignore[arg-type]

    service = asof.FeatureService("s", [_view(_events()), broken])
    with pytest.raises(UserCodeError, match=r"'broken': ValueError in .*test_bad_input.py:\d+"):
        asof.Project([service]).training_set(service, spine=GOOD.append_column("amount", pa.array([1.0])))


def test_a_request_function_of_another_length_is_told() -> None:
    @asof.request_feature(request={"amount": "float64"})
    def short(amount: object) -> object:
        return [amount, amount]

    service = asof.FeatureService("s", [_view(_events()), short])
    with pytest.raises(UserCodeError, match="shape"):
        asof.Project([service]).training_set(service, spine=GOOD.append_column("amount", pa.array([1.0])))


def test_an_unknown_service_names_the_nearest() -> None:
    project = asof.Project([asof.FeatureService("ach_risk", [_view(_events())])])
    with pytest.raises(UnknownName, match="ach_risk"):
        project.training_set("ach_rsk", spine=GOOD)


def test_two_sources_of_one_name_are_refused() -> None:
    other = asof.FeatureView(
        "w", entity=ACCOUNT, source=_events(event_time="at", delay="1h"), features=[asof.count().over("2d")]
    )
    with pytest.raises(DefinitionError, match="'tx'"):
        asof.Project([_view(_events()), other])


def test_nothing_is_written_when_the_target_cannot_be(tmp_path: Path) -> None:
    made = asof.Project([]).training_set([_view(_events())], spine=GOOD)
    for name in ("out.xlsx", "no/such/out.parquet"):
        with pytest.raises(DataError):
            made.write(tmp_path / name)
    nested = asof.Project([]).training_set([_view(_events(), asof.last("note", 2))], spine=GOOD)
    with pytest.raises(DataError, match="note_last_2"):
        nested.write(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_source_file_that_vanishes_while_it_is_read_is_a_failure_of_the_back_end(bank: Path) -> None:
    view = _view(_events(asof.Parquet(str(bank / "tx.parquet"))))
    (bank / "tx.parquet").unlink()
    _fails(view, SourceNotFound, "tx.parquet")


def test_null_keys_and_times_match_nothing_and_are_counted() -> None:
    view = _view(_events(), asof.count().over("1d"), asof.max("amount").over("1d"))
    made = asof.Project([view]).training_set(
        [view], spine=spine_of([("a", 3), (None, 3), ("a", None), ("zz", 3)])
    )
    assert made.table["count_1d"].to_pylist() == [2, 0, 0, 0]
    assert made.table["amount_max_1d"].to_pylist() == [7.0, None, None, None]
    assert (made.report.rows_without_key, made.report.rows_without_time) == (1, 1)
    source = made.report.sources[0]
    assert (source.without_key, source.without_event_time, source.missing_entities) == (1, 1, 3)


def test_an_empty_spine_gives_an_empty_typed_result() -> None:
    features = [
        asof.count().over("1d"),
        asof.last("note", 2),
        asof.sum("amount").by("note").over("1d"),
        asof.topk("note", 2).over("1d"),
    ]
    view = _view(_events(), *features)
    profile = asof.FeatureView("p", entity=ACCOUNT, source=view.source, features=[asof.latest("amount")])
    made = asof.Project([view, profile]).training_set([view, profile], spine=GOOD.slice(0, 0))
    full = asof.Project([view, profile]).training_set([view, profile], spine=GOOD)
    assert made.table.num_rows == 0
    assert made.table.schema == full.table.schema


def test_an_empty_history_gives_empty_windows(tmp_path: Path) -> None:
    pq.write_table(ROWS.slice(0, 0), tmp_path / "tx.parquet")
    source = _events(asof.Parquet(str(tmp_path / "tx.parquet")))
    view = _view(
        source,
        asof.count().over("1d"),
        asof.mean("amount").over("1d"),
        asof.last("note", 2),
        asof.distinct("note").over("1d"),
        asof.quantile("amount", 0.5).over("1d"),
    )
    profile = asof.FeatureView(
        "p", entity=ACCOUNT, source=source, features=[asof.latest("note").named("newest")]
    )
    row = asof.Project([view]).training_set([view, profile], spine=GOOD).table.to_pylist()[0]
    assert row == {
        "account_id": "a", "event_time": GOOD["event_time"][0].as_py(), "count_1d": 0, "amount_mean_1d": None,
        "note_last_2": [], "note_distinct_1d": 0, "amount_quantile_p50_1d": None, "newest": None,
    }  # fmt: skip


def test_a_cutoff_hides_what_was_known_later() -> None:
    view = _view(_events(), asof.count().over("1d"))
    made = asof.Project([view]).training_set(
        [view], spine=GOOD, cutoff=datetime(1970, 1, 1, 1, 30, tzinfo=UTC)
    )
    assert made.table["count_1d"].to_pylist() == [1]


def test_a_value_that_does_not_fit_late_in_a_long_history_is_told_without_the_value():
    n = 400_000
    rows = pa.table(
        {
            "account_id": ["a"] * n,
            "code": ["1"] * (n - 1) + ["secret-none"],
            "at": pa.array(range(n), pa.timestamp("us")),
        }
    )
    source = asof.Events(
        "tx", asof.InMemory(rows), event_time="at", columns={"number": "cast(code as bigint)"}
    )
    project = asof.Project([_view(source, asof.sum("number").over("1d"))])
    engine = project.engine()
    scan = Scan(Mapped(source), (("account_id", DType("string")),), ("number",))
    with pytest.raises(DataError, match="a value does not fit the type") as caught:
        list(engine.read(scan, 1_000)[1])
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
