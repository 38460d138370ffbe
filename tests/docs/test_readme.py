"""README.md: its code runs, its commands exist, and what it counts is what there is."""

from __future__ import annotations

import re

from asof.define.aggregation import FUNCTIONS
from tests.docs.pages import ROOT, blocks, run_page, tables

PAGE = ROOT / "README.md"
TEXT = PAGE.read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_code_runs_and_prints_what_is_shown(tmp_path):
    run_page(PAGE, tmp_path)


def test_the_code_has_twenty_lines():
    (block,) = [block for block in blocks(PAGE) if block.language == "python"]
    assert len([line for line in block.text.splitlines() if line.strip()]) == 20
    assert "## Twenty lines" in TEXT


def test_the_two_commands_stand_on_the_first_screen_and_exist():
    first_screen = "\n".join(TEXT.splitlines()[:25])
    assert "make demo " in first_screen
    assert "make test " in first_screen
    for target in re.findall(r"`?make (\w+)", TEXT):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_numbers_are_those_of_the_code_and_the_makefile():
    (count,) = re.findall(r"\[(\d+) aggregations\]", TEXT)
    assert int(count) == len(set(FUNCTIONS) - {"latest"})
    for megabytes in re.findall(r"about (\d+) MB", TEXT):
        assert f"about {megabytes} MB to download" in MAKEFILE


def test_it_names_the_version():
    version = re.search(r'__version__ = "(.+)"', (ROOT / "src/asof/__init__.py").read_text())
    assert version is not None
    assert f"The version is {version[1]}" in TEXT.replace("\n", " ")


def test_every_claim_about_others_has_a_source():
    (rows,) = [rows for rows in tables(PAGE) if "Feast" in rows[0]]
    for row in rows:
        for other in ("Feast", "Chronon", "Tecton"):
            assert row[other] == "-" or "[^" in row[other], row


def test_measured_numbers_say_where_they_come_from() -> None:
    measured = (ROOT / "README.md").read_text().partition("## Measured")[2].partition("\n## ")[0]
    assert "`make bench`" in measured
    assert "| bench | asof | other side | ratio |" in measured
    for bench in ("windows", "latest", "handbook", "scaling", "memory"):
        assert (ROOT / "bench" / f"{bench}.py").exists()
