"""Files of cases: YAML that says what it means, bounded and with lines; Python files; what is refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from asof.errors import DefinitionError, UnknownName, UserCodeError
from asof.flows.case_files import line_of, load_cases, read_yaml
from asof.testing import Case

VALUES = """
- name: values are what they look like
  view: activity
  cutoff: 2025-01-01
  tolerance: 0.5
  events:
    payments:
      - {id: 0042, country: NO, amount: 40.10, at: 2025-03-01T09:00:00Z, n: -12, e: 1.5e3, t: true, q: "5", z: ~,
         empty: , nan: .nan, inf: -.inf, clock: 1:30, under: 1_000}
    nothing:
  expect:
    - {account_id: a, at: 2025-03-02, count_1d: 1}
"""


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    file = folder / "cases" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_a_scalar_is_text_unless_it_is_clearly_something_else(tmp_path):
    (case,) = read_yaml(write(tmp_path, VALUES), "cases/a.yaml")
    row = dict(case.events["payments"][0])
    assert repr(row.pop("nan")) == "nan"
    assert row == {
        "id": "0042", "country": "NO", "amount": Decimal("40.10"), "at": "2025-03-01T09:00:00Z", "n": -12,
        "e": Decimal("1.5e3"), "t": True, "q": "5", "z": None, "empty": None, "inf": float("-inf"), "clock": "1:30",
        "under": "1_000",
    }  # fmt: skip
    assert (case.cutoff, case.tolerance, case.events["nothing"]) == ("2025-01-01", 0.5, ())


def test_a_case_and_each_of_its_rows_know_their_line(tmp_path):
    (case,) = read_yaml(write(tmp_path, VALUES), "cases/a.yaml")
    assert case.place == "cases/a.yaml:2"
    row = case.events["payments"][0]
    assert (line_of(row), line_of(row, "empty"), line_of(case.expect[0])) == (8, 9, 12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- &a {name: x}\n- *a", "c.yaml:2: an alias"),
        ("!!python/object/apply:os.system [echo]", "c.yaml:1: tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("!!binary aaaa", "c.yaml:1: tag 'binary'"),
        ("!!int soon", "c.yaml:1: 'soon' is not of the type int"),
        ("[" * 40, "c.yaml:1: more than 24 levels deep"),
        ("a: 1\na: 2", "c.yaml:2: 'a' stands twice"),
        ("? [a]\n: 1", "c.yaml:1: a key that is no text"),
        ("- name: [", "c.yaml:1: is not YAML"),
        ("--- a\n--- b", "c.yaml:2: is not YAML"),
        ("x: \x01", "c.yaml: is not YAML"),
        ("- 5", "c.yaml: int is no case"),
        ("- {view: v, expect: [{a: 1}]}", "c.yaml:1: case '': '' is not a name"),
        ("- {name: a, expect: [{a: 1}]}", "c.yaml:1: case 'a': nothing is asked"),
        ("- {name: a, view: v, service: s, expect: [{a: 1}]}", "c.yaml:1: case 'a': both service and view"),
        ("- {name: a, view: [v, 1], expect: [{a: 1}]}", "c.yaml:1: case 'a': ['v', 1] is not a name"),
        ("- {name: a, view: v, expect: 5}", "c.yaml:1: case 'a': expect is int, not a list of rows"),
        ("- {name: a, view: v, expect: []}", "c.yaml:1: case 'a': expects nothing"),
        ("- {name: a, view: v, expect: [5]}", "a row of expect is int, not a mapping"),
        ("- {name: a, view: v, events: [], expect: [{a: 1}]}", "events is list, not a mapping"),
        ("- {name: a, view: v, events: {s: {x: 1}}, expect: [{a: 1}]}", "events of 's' is Located, not a list"),
        ("- {name: a, view: v, types: {s: 1}, expect: [{a: 1}]}", "types of 's' is int, not a mapping"),
        ("- {name: a, label: l, expect: [{a: 1}]}", "c.yaml:1: case 'a': a label without cutoff"),
        ("- {name: a, view: v, tolerance: 2, expect: [{a: 1}]}", "tolerance 2 is not a number from 0 to 1"),
        ("- {name: a, view: v, tolerance: true, expect: [{a: 1}]}", "tolerance True is not a number"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_cases_is_refused_with_its_line(tmp_path, text, words):
    with pytest.raises(DefinitionError) as caught:
        read_yaml(write(tmp_path, text), "c.yaml")
    assert words in str(caught.value)


def test_a_misspelt_key_is_told_with_the_nearest(tmp_path):
    with pytest.raises(UnknownName, match=r"c.yaml:2: a case has no 'veiw'\nhint: did you mean 'view'"):
        read_yaml(write(tmp_path, "- name: x\n  veiw: y"), "c.yaml")


def test_a_large_file_and_one_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(DefinitionError, match=r"600,000 bytes are more than 500,000"):
        read_yaml(write(tmp_path, "#" * 600_000), "c.yaml")
    file = write(tmp_path, "")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DefinitionError, match="is not UTF-8 text"):
        read_yaml(file, "c.yaml")


def test_all_files_are_found_in_order_and_an_empty_one_holds_none(tmp_path):
    case = "- {{name: {0}, view: v, expect: [{{a: 1}}]}}"
    write(tmp_path, "# nothing yet", "0.yaml")
    write(tmp_path, case.format("two"), "b.yml")
    write(tmp_path, case.format("one"), "a.yaml")
    (tmp_path / "cases/deep").mkdir()
    write(tmp_path, case.format("three"), "deep/c.yaml")
    assert [case.name for case in load_cases(tmp_path)] == ["one", "two", "three"]


PYTHON = """
from asof.testing import Case

events = {"payments": [{"account_id": "a", "at": "2025-03-01"}]}

first = Case("first", view="activity", events=events, expect=[{"account_id": "a", "count_1d": 1}])
others = [
    Case(f"other {n}", service="risk", events=events, expect=[{"account_id": "a", "count_1d": n}])
    for n in range(2)
]
again = first
"""


def test_cases_in_python_stand_alone_or_in_lists(tmp_path):
    write(tmp_path, PYTHON, "money.py")
    cases = load_cases(tmp_path)
    assert [case.name for case in cases] == ["first", "other 0", "other 1"]
    assert [case.place for case in cases] == ["cases/money.py:6", "cases/money.py:8", "cases/money.py:8"]


def test_a_wrong_case_in_python_is_told_with_file_and_line_once(tmp_path):
    write(tmp_path, 'from asof.testing import Case\n\nbad = Case("bad", view="v", expect=[])\n', "bad.py")
    with pytest.raises(DefinitionError) as caught:
        load_cases(tmp_path)
    assert caught.value.message == "cases/bad.py:3: case 'bad': expects nothing"
    write(tmp_path, "1 / 0", "bad.py")
    with pytest.raises(UserCodeError, match=r"cases/bad.py:1: ZeroDivisionError"):
        load_cases(tmp_path)


def test_two_cases_of_a_file_may_not_have_one_name(tmp_path):
    write(tmp_path, "- {name: x, view: v, expect: [{a: 1}]}\n" * 2)
    with pytest.raises(DefinitionError, match=r"cases/a.yaml: two cases are named 'x'"):
        load_cases(tmp_path)


def test_a_case_can_be_made_anywhere():
    case = Case("c", views=["v", "w"], label="l", cutoff="2025-01-01", expect=[{"a": 1}])
    assert (case.views, case.labels) == (("v", "w"), ("l",))
    assert case.file.endswith("test_cases_files.py")
