"""ARCHITECTURE.md: the floor plan is that of tests/test_house.py, and has the rooms and files that there are."""

from __future__ import annotations

import inspect
import re

from asof.engines.scan import Engine
from tests.docs.pages import ROOT, blocks
from tests.test_house import FLOORS

PAGE = ROOT / "ARCHITECTURE.md"
TEXT = PAGE.read_text()
SRC = ROOT / "src" / "asof"


def drawn() -> dict[str, int | None]:
    """The rooms and files of the floor plan with their floors."""
    found: dict[str, int | None] = {}
    floor: int | None = None
    for line in blocks(PAGE)[0].text.splitlines():
        if line[0] != " ":
            floor = None if line[0] == "-" else int(line[0])
        name = line[3:].split()[0]
        found[name.rstrip("/")] = floor
    return found


def test_the_floor_plan_has_the_rooms_that_there_are():
    rooms = {folder.name for folder in SRC.iterdir() if (folder / "__init__.py").exists()}
    assert rooms == {name for name in drawn() if not name.endswith(".py")}
    for room in rooms - {"testing"}:
        assert drawn()[room] == FLOORS[room]


def test_the_ground_floor_is_complete():
    files = {path.name for path in SRC.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert files == {name for name in drawn() if name.endswith(".py")}


def test_rooms_to_come_are_those_that_have_a_floor_and_no_folder():
    said = set(re.findall(r"\w+", TEXT.partition("To come: ")[2].partition(" on 5")[0]))
    assert {room for room in FLOORS if not ((SRC / room).exists() or (SRC / f"{room}.py").exists())} <= said


def test_an_engine_has_the_methods_that_the_table_counts():
    words = {7: "seven", 6: "six", 5: "five", 4: "four"}
    methods = [name for name, _ in inspect.getmembers(Engine, inspect.isfunction) if name[0] != "_"]
    assert f"the {words[len(methods)]} methods of `Engine`" in TEXT


def test_it_is_three_pages_at_most():
    assert len(TEXT.split()) < 1_350
