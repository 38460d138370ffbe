"""docs/reference/aggregations.md: every function in each table: arguments, empty value, types and state."""

from __future__ import annotations

import ast
import inspect
import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

import asof
from asof.compute import aggregate, bags, sketch, states
from asof.compute.arrow import find_dtype
from asof.compute.kernels import HLL_REGISTERS
from asof.define.aggregation import FUNCTIONS, MAX_N
from asof.errors import WrongType
from tests.docs.pages import REFERENCE, code, tables

PAGE = REFERENCE / "aggregations.md"
VALUES, TYPES, COSTS = tables(PAGE)
AT = datetime(2025, 3, 3, 10, tzinfo=UTC)
THING = asof.Entity("thing", keys={"thing_id": "string"})
COLUMNS = {
    "bool": pa.array([True, None, False]),
    "int32": pa.array([1, None, 3], pa.int32()),
    "int64": pa.array([1, None, 3], pa.int64()),
    "float64": pa.array([1.5, None, 3.5]),
    "decimal(18,2)": pa.array([Decimal("1.10"), None, Decimal("3.30")], pa.decimal128(18, 2)),
    "string": pa.array(["x", None, "y"]),
    "date": pa.array([date(2025, 1, 1), None, date(2025, 1, 2)]),
    "timestamp": pa.array([AT, None, AT], pa.timestamp("us", "UTC")),
}
NAMES = {kind: f"c{number}" for number, kind in enumerate(COLUMNS)}
ROWS = pa.table(
    {"thing_id": ["a"] * 3, "moment": [AT] * 3} | {NAMES[kind]: values for kind, values in COLUMNS.items()}
)
EVENTS = asof.Events("events", asof.InMemory(ROWS), event_time="moment")
SPINE = pa.table({"thing_id": ["a", "b"], "event_time": [AT.replace(hour=12)] * 2})


def made(function: str, column: str):
    extra = {"quantile": (0.5,), "topk": (2,), "decayed_sum": ("1h",)}.get(function, ())
    if function == "latest":
        return asof.latest(column)
    if function == "ratio":
        return asof.ratio(asof.sum(column), asof.count()).over("1d").named("share")
    return getattr(asof, function)(column, *extra).over("1d")


def ask(features: list) -> pa.Table:
    """The columns of some features for a thing with history and one without."""
    view = asof.FeatureView("view", entity=THING, source=EVENTS, features=features)
    return asof.Project().training_set([view], spine=SPINE).table.select(list(view.names))


def type_of(arrow: pa.DataType) -> str:
    if pa.types.is_list(arrow):
        return f"list<{type_of(arrow.value_type)}>"
    if pa.types.is_map(arrow):
        return f"map<{type_of(arrow.item_type)}>"
    return str(find_dtype(arrow))


@pytest.mark.parametrize("rows", [VALUES, TYPES, COSTS], ids=["values", "types", "costs"])
def test_each_table_has_every_function_in_order(rows):
    assert [code(row["function"]) for row in rows] == [[name] for name in FUNCTIONS]


@pytest.mark.parametrize("row", VALUES, ids=lambda row: row["function"])
def test_arguments_are_those_of_the_function(row):
    function = getattr(asof, row["function"].strip("`"))
    expected = []
    for name, parameter in inspect.signature(function).parameters.items():
        optional = parameter.default is None
        expected.append(f"`{name}` (optional)" if optional else f"`{name}`")
    said = re.sub(r" \((?!optional)[^)]*\)", "", row["arguments"])
    assert said == ", ".join(expected)


@pytest.mark.parametrize("row", VALUES, ids=lambda row: row["function"])
def test_the_empty_value_is_that_of_the_engine(row):
    plain, _, other = row["empty"].partition(", or ")
    column = ask([made(row["function"].strip("`"), NAMES["int64"])]).column(0)
    assert column.to_pylist()[1] == _literal(plain)
    if other == "`[]`":
        listed = getattr(asof, row["function"].strip("`"))(NAMES["int64"], n=2).over("1d")
        assert ask([listed]).column(0).to_pylist()[1] == []


def _literal(text: str):
    return None if text == "null" else ast.literal_eval(text.strip("`"))


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row["function"])
def test_result_types_are_those_of_the_engine(row):
    asked = {kind.strip("`"): said for kind, said in row.items() if kind != "function"}
    function = row["function"].strip("`")
    assert list(asked) == list(COLUMNS)
    features = {kind: made(function, NAMES[kind]) for kind, said in asked.items() if said != "-"}
    if function == "ratio":
        features = {kind: one.named(f"share_{NAMES[kind]}") for kind, one in features.items()}
    types = ask(list(features.values())).schema.types
    assert dict(zip(features, map(type_of, types), strict=True)) == {
        kind: said for kind, said in asked.items() if said != "-"
    }


@pytest.mark.parametrize("row", COSTS, ids=lambda row: row["function"])
def test_states_are_classes_that_exist(row):
    for name in code(row["state"]):
        assert hasattr(states, name) or hasattr(bags, name)


def test_the_tables_speak_of_all_folds_and_states():
    assert set(aggregate._FOLDS) == set(FUNCTIONS)
    named = {name for row in COSTS for name in code(row["state"])}
    classes = [c for room in (states, bags) for _, c in inspect.getmembers(room, inspect.isclass)]
    kept = {c.__name__ for c in classes if hasattr(c, "merge")} - {"Aggregate"}
    assert kept == named


def test_the_numbers_in_the_text_are_those_of_the_code():
    text = PAGE.read_text()
    assert f"{HLL_REGISTERS:,} registers" in text
    assert f"{1.04 / HLL_REGISTERS**0.5:.1%}".replace("%", " %") in text
    assert f"within {sketch.RELATIVE_ERROR:.0%}".replace("%", " %") in text
    assert f"(1 to {MAX_N})" in text


@pytest.mark.parametrize("row", TYPES, ids=lambda row: row["function"])
def test_a_dash_is_a_type_that_the_function_refuses(row):
    for kind in (kind.strip("`") for kind, said in row.items() if said == "-"):
        with pytest.raises(WrongType):
            ask([made(row["function"].strip("`"), NAMES[kind])])


def test_a_map_has_the_keys_of_the_window_in_order():
    table = ask([asof.count().by(NAMES["string"]).over("1d")])
    assert type_of(table.schema.types[0]) == "map<int64>"
    assert table.column(0).to_pylist() == [[("x", 1), ("y", 1)], []]
