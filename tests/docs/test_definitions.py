"""docs/reference/definitions.md: every public name with every argument, and names and types as the code makes them."""

from __future__ import annotations

import inspect
import re

import pytest

import asof
from asof.define import entity
from asof.define.aggregation import FUNCTIONS, Aggregation
from asof.flows import spine
from asof.flows.result import FORMATS, TrainingSet
from asof.types import _TABLE
from tests.docs.pages import REFERENCE, code, run_page, sections, table, tables

PAGE = REFERENCE / "definitions.md"
AGGREGATIONS = REFERENCE / "aggregations.md"
SECTIONS = sections(PAGE)
PUBLIC = {name: getattr(asof, name) for name in asof.__all__}
DEFINED = sorted(set(PUBLIC) - (set(FUNCTIONS) - {"latest"}) - {"AsofError"})


def parameters(thing: object) -> list[str]:
    return [name for name in inspect.signature(thing).parameters if name != "self"]  # type: ignore[arg-type]


def test_the_examples_are_definitions(tmp_path):
    run_page(PAGE, tmp_path)


def test_every_public_name_has_a_section_or_is_an_aggregation():
    aggregations = {row["function"].strip("`") for rows in tables(AGGREGATIONS) for row in rows}
    documented = {name.strip("`") for name in SECTIONS} | aggregations
    assert not set(PUBLIC) - documented


@pytest.mark.parametrize("name", DEFINED)
def test_every_argument_is_named_in_its_section(name):
    words = set(re.findall(r"`(\w+)", SECTIONS[f"`{name}`"]))
    assert not set(parameters(PUBLIC[name])) - words


def test_every_argument_of_training_set_is_named():
    words = set(re.findall(r"`(\w+)", SECTIONS["`Project`"]))
    assert not set(parameters(asof.Project.training_set)) - words
    public = {name for name in vars(TrainingSet) if not name.startswith("_")} | {
        "table",
        "report",
        "manifest",
    }
    assert not public - words
    assert all(f"`{ending}`" in SECTIONS["`Project`"] for ending in (*FORMATS, *spine._FILES))


def test_every_method_of_an_aggregation_is_named_with_its_arguments():
    text = SECTIONS["Aggregations"]
    for name, method in inspect.getmembers(Aggregation, inspect.isfunction):
        if name.startswith("_") or name == "features":
            continue
        (line,) = [line for line in text.splitlines() if line.startswith(f"- `{name}(")]
        assert all(word in line for word in parameters(method))


@pytest.mark.parametrize("row", table(PAGE, "definition"), ids=lambda row: row["definition"])
def test_columns_are_named_as_the_table_says(row):
    made = eval(row["definition"].strip("`"), dict(PUBLIC))  # noqa: S307 - our own page
    assert [feature.name for feature in made.features("view 'v'")] == code(row["names"])


def test_the_table_of_names_has_every_function():
    text = " ".join(row["definition"] for row in table(PAGE, "definition"))
    assert not {name for name in FUNCTIONS if f"{name}(" not in text}


def test_every_type_has_a_row_that_says_what_it_can_be():
    rows = {re.match(r"`(\w+)", row["type"])[1]: row for row in table(PAGE, "type")}
    assert list(rows) == [
        "bool",
        "int32",
        "int64",
        "float64",
        "decimal",
        "string",
        "date",
        "timestamp",
        "list",
        "map",
    ]
    assert set(rows) == set(_TABLE)
    for kind, row in rows.items():
        assert row["as entity key"] == ("yes" if kind in entity._KEY_KINDS else "no")
