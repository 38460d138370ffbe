"""docs/reference/errors.md: a row for every class of the tree, as the code has it, and the tree itself."""

from __future__ import annotations

import inspect

import pytest

import asof.errors
from tests.docs.pages import REFERENCE, blocks, code, run_page, table

PAGE = REFERENCE / "errors.md"


def classes() -> list[type[asof.errors.AsofError]]:
    """The tree in the order in which it is drawn."""
    found: list[type[asof.errors.AsofError]] = []
    waiting = [asof.errors.AsofError]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += [c for c in reversed(each.__subclasses__()) if c.__module__.startswith("asof.")]
    return found


def test_the_table_has_every_class_in_the_order_of_the_tree():
    assert [code(row["class"]) for row in table(PAGE, "code")] == [[c.__name__] for c in classes()]


@pytest.mark.parametrize("error", classes(), ids=lambda error: error.__name__)
def test_a_row_says_what_the_class_says(error):
    (row,) = [row for row in table(PAGE, "code") if code(row["class"]) == [error.__name__]]
    meaning = " ".join((inspect.getdoc(error) or "").partition("\n\n")[0].split())
    builtin = [base.__name__ for base in error.__bases__ if base.__module__ == "builtins"]
    assert code(row["code"]) == [error.code]
    assert row["meaning"] == meaning
    assert code(row["also a"]) == builtin
    assert len(row["what mostly helps"]) > 10


def test_the_tree_is_the_one_in_the_code():
    drawn = (inspect.getdoc(asof.errors) or "").split("```")[1].strip("\n")
    assert blocks(PAGE)[0].text.strip("\n") == drawn


def test_the_example_prints_what_the_page_shows(tmp_path):
    run_page(PAGE, tmp_path)
