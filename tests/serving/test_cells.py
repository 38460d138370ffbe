"""Values as JSON: the fast way equals a plain one, for one entity and for many, for every type and any nulls."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from asof.compute.arrow import arrow_type
from asof.define.window import BEGIN_US
from asof.flows.answer import Answer, Freshness
from asof.serving.answer_json import answer_json
from asof.serving.cells import IdentityCache
from asof.serving.selection import Selections
from asof.types import DType

BITS = ["int64", "int32", "float64", "bool", "decimal(18,2)", "decimal(38,0)", "timestamp", "date"]
MOMENTS = st.integers(0, 2**51).map(lambda us: datetime.fromtimestamp(us / 1e6, UTC))
OTHERS = {
    "string": st.text(max_size=8), "list<int64>": st.lists(st.integers(-9, 9), max_size=3),
    "list<decimal(9,2)>": st.lists(st.decimals(-99, 99, places=2), max_size=2),
    "map<float64>": st.dictionaries(st.text(max_size=4), st.floats(-9, 9), max_size=2).map(lambda d: list(d.items())),
    "map<timestamp>": st.dictionaries(st.text(max_size=4), MOMENTS, max_size=2)
    .map(lambda d: list(d.items())),
    "int64": st.integers(-(2**63), 2**63 - 1),
}  # fmt: skip
ANY_BITS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


def bits_of(kind: str) -> st.SearchStrategy[int]:
    return {"timestamp": TIMES, "date": st.integers(-719_162, 2_932_896), "bool": st.integers(0, 1)}.get(
        kind, ANY_BITS
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    n = draw(st.integers(0, 4))
    kinds = draw(st.lists(st.sampled_from([*BITS, *OTHERS]), min_size=1, max_size=6))
    other = [kind in OTHERS and (kind not in BITS or draw(st.booleans())) for kind in kinds]
    dtypes = tuple(DType.parse(kind) for kind in kinds)
    values = np.array([[draw(bits_of(kind)) for kind in kinds] for _ in range(n)], np.int64).reshape(
        n, len(kinds)
    )
    valid = np.array([[draw(st.booleans()) for _ in kinds] for _ in range(n)], bool).reshape(n, len(kinds))
    if draw(st.booleans()):
        values, valid = np.asfortranarray(values), np.asfortranarray(valid)
    others: dict[int, pa.Array] = {}
    for place, (kind, is_other) in enumerate(zip(kinds, other, strict=True)):
        if is_other:
            column = [draw(st.none() | OTHERS[kind]) for _ in range(n)]
            others[place] = pa.array(column, arrow_type(dtypes[place]))
            valid[:, place] = [value is not None for value in column]
    statuses = np.array([[draw(st.integers(0, 4)) for _ in kinds] for _ in range(n)], np.uint8).reshape(
        n, len(kinds)
    )
    newest = np.array(
        [draw(st.sampled_from([BEGIN_US, 0, 1_700_000_000_000_001])) for _ in range(n)], np.int64
    )
    names = tuple(f"f{place}" for place in range(len(kinds)))
    at_us = draw(st.integers(0, 2_000_000_000_000_000))
    fresh = (Freshness("v", draw(st.sampled_from([BEGIN_US, 7])), newest),)
    return Answer("s", at_us, names, dtypes, values, valid, statuses, others, fresh, (0,) * len(kinds))


def plain(value: Any, dtype: DType) -> Any:
    """The naive twin: one value as JSON has it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if dtype.kind == "list":
        return [plain(each, dtype.item) for each in value]
    if dtype.kind == "map":
        return {key: plain(each, dtype.item) for key, each in value}
    texts = {
        "decimal": lambda: format(Decimal(value), "f"),
        "timestamp": lambda: value.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    if dtype.kind == "date":
        return value.isoformat()
    return texts[dtype.kind]() if dtype.kind in texts else value


@given(answers())
def test_an_answer_is_encoded_as_its_values_one_by_one(answer: Answer):
    made = json.loads(answer_json(answer))
    expected = [
        [plain(answer.lists[place][row], dtype) for place, dtype in enumerate(answer.dtypes)]
        for row in range(answer.size)
    ]
    assert made["values"] == expected
    assert made["statuses"] == [
        "".join("pnmes"[status] for status in row) for row in answer.statuses.tolist()
    ]
    assert made["names"] == list(answer.names)
    assert made["freshness"]["v"]["ages_s"] == answer.freshness[0].ages_s(answer.at_us)


@given(answers(), st.data())
def test_chosen_columns_are_those_of_the_whole(answer: Answer, data: st.DataObject):
    columns = tuple(data.draw(st.lists(st.sampled_from(answer.names), min_size=1, unique=True)))
    selections = Selections()
    whole = json.loads(answer_json(answer))
    for _ in range(2):
        made = json.loads(answer_json(selections.select(answer, columns)))
        places = [answer.names.index(name) for name in columns]
        assert made["values"] == [[row[place] for place in places] for row in whole["values"]]
        assert made["statuses"] == ["".join(row[place] for place in places) for row in whole["statuses"]]


def test_what_is_kept_of_objects_is_bounded_and_never_mistaken():
    made: list[object] = []
    cache = IdentityCache(lambda key: made.append(key) or len(key))  # type: ignore[arg-type, func-returns-value]
    keys = [(1,) * (number % 7) for number in range(2_000)]
    assert [cache(key) for key in keys] == [len(key) for key in keys]
    assert len(cache._made) <= 512
