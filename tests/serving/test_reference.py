"""docs/reference/http-api.md: routes, fields, codes, letters and metrics are those of the code."""

from __future__ import annotations

from msgspec.structs import fields

from asof.flows.answer import STATUSES
from asof.serving.answer_json import LETTERS
from asof.serving.failures import HTTP_CODES
from asof.serving.features import FeaturesRequest
from asof.serving.metrics import Metrics
from asof.serving.openapi import openapi
from tests.docs.pages import REFERENCE, code, sections, table, tables_in

PAGE = REFERENCE / "http-api.md"


def test_the_routes_are_those_of_the_document():
    paths = openapi()["paths"]
    told = [(row["method"], *code(row["path"])) for row in table(PAGE, "method")]
    assert sorted(told) == sorted((method.upper(), path) for path, item in paths.items() for method in item)


def test_the_fields_of_request_and_answer():
    asked, answered = [rows for rows in tables_in(sections(PAGE)["Features"]) if "field" in rows[0]]
    assert [code(row["field"]) for row in asked] == [[each.name] for each in fields(FeaturesRequest)]
    assert [code(row["field"])[0] for row in answered] == list(
        openapi()["components"]["schemas"]["Features"]["properties"]
    )


def test_the_letters_are_the_statuses():
    rows = table(PAGE, "letter")
    assert [(code(row["letter"])[0], row["status"]) for row in rows] == list(
        zip(LETTERS, STATUSES, strict=True)
    )


def test_the_codes_are_those_of_the_table():
    told = {code(row["code"])[0]: (int(row["status"]), row["meaning"]) for row in table(PAGE, "code")}
    plain = {name: (status, text.replace("`", "")) for name, (status, text) in HTTP_CODES.items()}
    assert {name: (status, text.replace("`", "")) for name, (status, text) in told.items()} == plain


def test_every_metric_has_a_row_with_its_labels():
    rows = {
        code(row["metric"])[0].removesuffix("_total"): code(row["labels"]) for row in table(PAGE, "metric")
    }
    known = {family.name: family for family in Metrics().registry.collect()}
    assert set(rows) == set(known)
    for row in table(PAGE, "metric"):
        family = known[code(row["metric"])[0].removesuffix("_total")]
        assert row["meaning"].partition(";")[0].rstrip(".") in family.documentation
