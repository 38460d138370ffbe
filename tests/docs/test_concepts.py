"""docs/concepts/time-and-value.md: its examples are run, and each cell of its table of windows is asked."""

from __future__ import annotations

import asof
from tests.docs.pages import DOCS, ROOT, blocks, run_page, run_python, table

PAGE = DOCS / "concepts" / "time-and-value.md"


def test_the_examples_give_what_the_page_shows(tmp_path):
    run_page(PAGE, tmp_path)


def test_the_table_of_windows_gives_the_answers_of_the_engine():
    names = vars(asof) | {name: getattr(asof, name) for name in asof.__all__}
    for block in blocks(PAGE):
        if block.language == "python" and ">>> " not in block.text:
            run_python(block, names)
    rows = table(PAGE, "feature")
    assert len(rows) == 7
    for row in rows:
        made = eval(row["feature"].strip("`"), names)  # noqa: S307 - our own page
        shown = {
            f"03 {head.removeprefix('at ')}": int(cell) for head, cell in row.items() if head != "feature"
        }
        assert names["ask"](names["events"], made, *shown) == list(shown.values())


def test_the_sections_are_those_that_the_code_refers_to():
    text = " ".join((ROOT / "src/asof/compute/windows.py").read_text().split())
    assert "docs/concepts/time-and-value.md, section Windows" in text
    assert "\n## Windows\n" in PAGE.read_text()
