"""What `asof test` says: lines for a reader, a document for a program, JUnit XML for a CI server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from asof.define.case import Case
from asof.errors import AsofError, DefinitionError, UserCodeError
from asof.flows.case_result import CaseResult, Difference
from asof.flows.case_values import shown

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
_MOST_EVENTS = 12
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """One test as it is told: how it went, where it stands, its name, and the lines below."""

    state: str
    place: str
    name: str
    told: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    misused: bool = False

    def __str__(self) -> str:
        head = f"{self.state.upper():<8}{self.place}: {self.name}"
        return "\n".join([head, *(f"  {each}" for each in self.told)])


def case_line(result: CaseResult) -> Line:
    """How a case went."""
    case: Case = result.case
    if result.error is not None:
        return _error(result.error, case.place, case.name)
    if result.passed:
        return Line(PASSED, case.place, case.name, facts={"values": result.values})
    told: list[str] = []
    for number in dict.fromkeys(each.row for each in result.differences):
        told += _row([each for each in result.differences if each.row == number])
    facts = {"values": result.values, "differences": [_as_facts(each) for each in result.differences]}
    return Line(FAILED, case.place, case.name, tuple(told), facts)


def generated_line(result: Any) -> Line:
    """How the generated examples of a definition went (`asof.testing.generated.Generated`)."""
    place, name = "generated", f"{result.subject.kind} {result.subject.name!r}"
    facts: dict[str, object] = {"examples": result.examples, "values": result.values}
    if result.error is not None:
        return _error(result.error, place, name)
    if result.skipped is not None:
        return Line(SKIPPED, place, f"{name}: {result.skipped}", facts={**facts, "reason": result.skipped})
    if result.mismatch is None:
        return Line(PASSED, place, name, facts=facts)
    found = result.mismatch
    told = [
        f"{_spoken(found.column)}, example {found.example}, {found.options}: {_pairs(found.asked)}",
        *_table([("oracle", "engine"), (shown(found.oracle), shown(found.engine))]),
        *_events([(source, row) for source, rows in found.events.items() for row in rows], "events"),
        "oracle and engine differ: that is a fault of asof, not of the definition; please report it",
    ]
    facts |= {"example": found.example, "column": found.column, "options": found.options, "asked": found.asked,
              "oracle": shown(found.oracle), "engine": shown(found.engine), "events": found.events}  # fmt: skip
    return Line(FAILED, place, name, tuple(told), facts)


def _spoken(column: str) -> str:
    return f"column {column}" if column else "no column: one of them failed"


def summary(lines: Sequence[Line]) -> str:
    """How many went how: `12 passed, 1 failed, 2 skipped`."""
    counts = {state: sum(line.state == state for line in lines) for state in (PASSED, FAILED, SKIPPED)}
    told = [f"{count} {state}" for state, count in counts.items() if count or state == PASSED]
    return ", ".join(told)


def as_document(lines: Sequence[Line]) -> dict[str, object]:
    """The same as one JSON document."""
    tests = [{"state": line.state, "place": line.place, "name": line.name, **line.facts} for line in lines]
    counts = {state: sum(line.state == state for line in lines) for state in (PASSED, FAILED, SKIPPED)}
    return {**counts, "tests": tests}


def as_junit(lines: Sequence[Line], seconds: float) -> str:
    """The same as JUnit XML, which CI servers read."""
    counts = {state: str(sum(line.state == state for line in lines)) for state in (FAILED, SKIPPED)}
    suite = ET.Element(
        "testsuite", name="asof", tests=str(len(lines)), failures=counts[FAILED], errors="0",
        skipped=counts[SKIPPED], time=f"{seconds:.3f}",
    )  # fmt: skip
    for line in lines:
        file = line.place.rpartition(":")[0] or line.place
        test = ET.SubElement(suite, "testcase", classname=_clean(file), name=_clean(line.name))
        if line.state == FAILED:
            failure = ET.SubElement(test, "failure", message=_clean(line.told[0] if line.told else line.name))
            failure.text = _clean(str(line))
        if line.state == SKIPPED:
            ET.SubElement(test, "skipped", message=_clean(str(line.facts.get("reason", ""))))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _error(error: AsofError, place: str, name: str) -> Line:
    """An error that stopped a test; the place of a case stands in its message already."""
    said = error.message.removeprefix(f"{place}: ").removeprefix(f"case {name!r}: ")
    told = [said, *([f"hint: {error.hint}"] if error.hint else [])]
    wrong = isinstance(error, DefinitionError) and not isinstance(error, UserCodeError)
    return Line(FAILED, place, name, tuple(told), error.as_dict(), misused=wrong)


def _row(differences: Sequence[Difference]) -> list[str]:
    first = differences[0]
    line = "" if first.line is None else f" (line {first.line})"
    rows = [(each.column, shown(each.expected), shown(each.got)) for each in differences]
    return [
        f"row {first.row + 1}{line}: {_pairs(first.asked)}",
        *_table([("column", "expected", "got"), *rows]),
        *_events(first.known, "known by then"),
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line.rstrip()}" for line in lines]


def _events(events: Sequence[tuple[str, Mapping[str, object]]], title: str) -> list[str]:
    more = len(events) - _MOST_EVENTS
    lines = [f"  {source}: {_pairs(row)}" for source, row in events[:_MOST_EVENTS]]
    return [f"  {title}:" + ("" if events else " nothing"), *(f"  {line}" for line in lines),
            *([f"    and {more} more"] if more > 0 else [])]  # fmt: skip


def _pairs(row: Mapping[str, object]) -> str:
    return " ".join(f"{name}={shown(value)}" for name, value in row.items())


def _as_facts(each: Difference) -> dict[str, object]:
    return {"row": each.row + 1, "line": each.line, "asked": {k: shown(v) for k, v in each.asked.items()},
            "column": each.column, "expected": shown(each.expected), "got": shown(each.got)}  # fmt: skip


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)
