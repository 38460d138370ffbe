"""A function counts by what it does and what it reads: the same text exactly where nothing else can come out."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from asof.define.function_source import FunctionSource, function_source
from tests.define.conftest import Load


def of(module: ModuleType, name: str = "f") -> FunctionSource:
    made = function_source(getattr(module, name))
    assert " at 0x" not in made.tree
    return made


FIRST = """
def f(amount, limit=10):
    return {"high": amount > limit, "text": f"{amount:.2f} of {limit!r:>8}"}
"""

LOOKS = {
    "comments": "# one\ndef f(amount, limit=10):  # two\n    # three\n"
    '    return {"high": amount > limit, "text": f"{amount:.2f} of {limit!r:>8}"}\n',
    "a docstring": 'def f(amount, limit=10):\n    """High."""\n'
    '    return {"high": amount > limit, "text": f"{amount:.2f} of {limit!r:>8}"}\n',
    "quotes": "def f(amount, limit=10):\n  return {'high': amount > limit, 'text': f'{amount:.2f} of {limit!r:>8}'}\n",
    "reflow, parentheses and trailing commas": """
def f(
    amount,
    limit=10,
):
    return {
        "high": (amount > (limit)),
        "text": (
            f"{amount:.2f}"
            f" of {limit!r:>8}"
        ),
    }
""",
    "annotations": "from decimal import Decimal\ndef f(amount: Decimal, limit: 'int' = 10) -> dict[str, object]:\n"
    '    return {"high": amount > limit, "text": f"{amount:.2f} of {limit!r:>8}"}\n',
    "a decorator": "from functools import cache\ndef mark(name):\n    return lambda g: g\n@mark('a')\n@mark(\n'b')\n"
    'def f(amount, limit=10):\n    return {"high": amount > limit, "text": f"{amount:.2f} of {limit!r:>8}"}\n',
    "its name": "def g(amount, limit=10):\n"
    '    return {"high": amount > limit, "text": f"{amount:.2f} of {limit!r:>8}"}\nf = g\n',
    "its place": 'if True:\n  class Place:\n    def f(amount, limit=10):\n\n      return {"high": amount > limit,\n'
    '"text": f"{amount:.2f} of {limit!r:>8}"}\nf = Place.f\n',
    "the spelling of numbers and text": 'def f(amount, limit=0xA):\n    return {"h" "igh": amount > limit, "te\\x78t": '
    'f"{amount:.2f} of {limit!r:>8}" ""}\n',
}


@pytest.mark.parametrize("what", LOOKS)
def test_looks_do_not_count(load: Load, what: str) -> None:
    first, other = of(load(FIRST)), of(load(LOOKS[what]))
    assert other.tree == first.tree
    assert other.stable


def test_notes_within_a_function_do_not_count(load: Load) -> None:
    bare = "def f(x):\n    def g(y):\n        return y\n    class A:\n        pass\n    z = g(x)\n    return z, A\n"
    noted = (
        "from typing import Any\n"
        'def f(x):\n    def g(y: Any) -> Any:\n        "G."\n        return y\n    class A:\n        "A."\n'
        "    w: Any\n    z: Any = g(x)\n    return z, A\n"
    )
    assert of(load(bare)).tree == of(load(noted)).tree


# A module with a gap, and two fillings with which it does not do the same.
CHANGES: dict[str, tuple[str, str, str]] = {
    "an operator": ("f = lambda x: x ... 1", ">", ">="),
    "the type of a number": ("f = lambda x: x + ...", "1", "1.0"),
    "a format": ("f = lambda x: f'{x:...}'", ".2f", ".3f"),
    "a conversion": ("f = lambda x: f'{x!...}'", "r", "s"),
    "what matches": ("def f(x):\n  match x:\n    case ...: return 1", "None", "True"),
    "a default": ("a = ...\nf = lambda x, y=a: x + y", "1", "2"),
    "a default by name": ("a = ...\nf = lambda x, *, y=a: x + y", "1", "2"),
    "a global": ("A = ...\nf = lambda x: x + A", "1", "2"),
    "a global in a comprehension": ("A = ...\nf = lambda x: [i + A for i in x]", "1", "2"),
    "a global within": ("A = ...\ndef f(x):\n  def g(): return A\n  return g() + x", "1", "2"),
    "a global that hides a builtin": ("... = print\nf = lambda x: max(x)", "min", "max"),
    "where a name comes from": ("from math import ... as g\nf = lambda x: g(x)", "log2", "log10"),
    "a module": ("import ... as m\nf = lambda x: m.log(x)", "math", "cmath"),
    "a closure": ("def make(rate): return lambda x: x * rate\nf = make(...)", "2", "3"),
    "a function that it calls": ("def g(x): return x + ...\nf = lambda x: g(x)", "1", "2"),
    "what such a function reads": ("A = ...\ndef h(x): return A\ndef g(x): return h(x)\nf = lambda x: g(x)", "1", "2"),
    "a function in a container": ("def g(x): return ...\nT = {'a': [g]}\nf = lambda x: T", "1", "2"),
    "a decorator": (
        "import functools as t\ndef twice(g):\n  @t.wraps(g)\n  def w(): ...; g()\n  return w\n@twice\ndef f(): 1",
        "2", "3",
    ),
    "what its own name is by now": ("def g(x): return g(x)\nf = g\ng = ...", "1", "2"),
    "what is registered": (
        "import functools\n@functools.singledispatch\ndef f(x): pass\n@f.register\ndef _(x: int): return ...", "1", "2"
    ),
    "what a cache wraps": ("import functools\n@functools.cache\ndef f(x): return ...", "1", "2"),
    "what a library wraps": ("import contextlib as c\n@c.contextmanager\ndef f(x): yield ...", "1", "2"),
    "what NumPy wraps": ("import numpy as np\nf = np.vectorize(lambda x: x + ...)", "1", "2"),
    "what Numba compiles": ("import numba\n@numba.njit\ndef f(x): return x + ...", "1", "2"),
    "what a partial binds": ("import functools, operator as o\nf = functools.partial(o.add, ...)", "1", "2"),
    "an object's attribute": (
        "class A:\n  def __init__(self, a): self.a = a\n  def __call__(self, x): return x + self.a\nf = A(...)",
        "1", "2",
    ),
    "an object's slot": (
        "class A:\n  __slots__ = ('a',)\n  def m(self, x): return x\na = A()\na.a = ...\nf = a.m", "1", "2"
    ),
    "a method": ("class A:\n  def g(self): return ...\n  def __call__(self, x): return self.g()\nf = A()", "1", "2"),
    "a property of a base": (
        "class B:\n  @property\n  def a(self): return ...\nclass A(B): pass\nf = lambda x: A().a", "1", "2"
    ),
    "a class's constant": ("class A: a = ...\nf = lambda x: A.a", "1", "2"),
    "a member of an enum": ("import enum\nclass E(enum.Enum):\n  a = ...\nf = lambda x: E.a", "1", "2"),
    "which member": ("import enum\nclass E(enum.IntEnum):\n  a = 1\n  b = 2\nD = E...\nf = lambda x: D", ".a", ".b"),
    "a dataclass's field": (
        "import dataclasses as d\n@d.dataclass(frozen=True)\nclass A:\n  a: int\nC = A(...)\nf = lambda x: C", "1", "2"
    ),
    "how a field begins": (
        "import dataclasses as d\n@d.dataclass\nclass A:\n  a: list = d.field(default_factory=...)\nf = lambda x: A()",
        "list", "set",
    ),
    "an array": ("import numpy as np\nA = np.array([1, ...])\nf = lambda x: A", "2", "3"),
    "an array's type": ("import numpy as np\nA = np.zeros(3, '...')\nf = lambda x: A", "int64", "uint64"),
    "an array's shape": ("import numpy as np\nA = np.zeros(...)\nf = lambda x: A", "4", "(2, 2)"),
    "an array of objects": ("import numpy as np\nA = np.array(['a', ...])\nf = lambda x: A", "None", "True"),
    "an array of records": ("import numpy as np\nA = np.array([(1, ...)], 'i1,f8')\nf = lambda x: A", "1", "2"),
    "the digits of a decimal": ("import decimal as d\nA = d.Decimal('...')\nf = lambda x: A", "1.0", "1.00"),
    "a zone": (
        "import datetime as d, zoneinfo as z\nA = d.time(1, tzinfo=z.ZoneInfo('...'))\nf = lambda x: A",
        "UTC", "Asia/Tokyo",
    ),
    "a pattern": ("import re\nA = re.compile('a', ...)\nf = lambda x: A", "re.I", "re.M"),
    "a long list": ("A = [*range(9999), ...]\nf = lambda x: A", "1", "2"),
    "a text of another class": ("class T(str): pass\nA = ...('a')\nf = lambda x: A", "str", "T"),
    "what a getter gets": ("import operator as o\nf = o.itemgetter(...)", "1", "2"),
    "a mapping's method": ("T = {1: ...}\nget = T.get\nf = lambda x: get(x)", "2", "3"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_values_counts(load: Load, what: str) -> None:
    text, before, after = CHANGES[what]
    first, again, changed = (of(load(text.replace("...", each, 1))) for each in (before, before, after))
    assert first.tree == again.tree
    assert first.tree != changed.tree


# A module with a gap, and two fillings with which it does the same.
SAME: dict[str, tuple[str, str, str]] = {
    "a global that is not read": ("A = ...\nf = lambda x: [A for A in x]", "1", "2"),
    "an attribute with the name of a global": ("A = ...\nf = lambda x: x.A", "1", "2"),
    "a global in an annotation": ("A = ...\ndef f(x: A) -> A:\n  y: A = x\n  return y", "1", "2"),
    "the order of a set": ("A = {...}\nf = lambda x: A", "'a', 'b', 'c'", "'c', 'b', 'a'"),
    "the order of members": ("B, C = set(), 1\nclass A: ...\nf = lambda: A", "a = B; b = C", "b = C; a = B"),
    "comments in what it calls": ("def g(x): # ...\n  return x\nf = lambda x: g(x)", "one", "two"),
    "a docstring of what it calls": ("def g(x):\n  '...'\n  return x\nf = lambda x: g(x)", "one", "two"),
    "an array's place in memory": (
        "import numpy as np\nA = np.ones(...\nf = lambda x: A", "(2, 3))", "(3, 2)).T"
    ),
    "a field that is not compared": (
        "import dataclasses as d\n@d.dataclass\nclass A:\n  a: int = d.field(compare=False)\nC = A(...)\nf = lambda: C",
        "1", "2",
    ),
    "the module's own name and file": ("f = lambda x: (x, __file__, __name__)  # ...", "1", "2"),
    "the state of a library's object": ("import random\nA = random.Random(...)\nf = lambda x: A", "1", "2"),
}  # fmt: skip


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_value_does_not_count(load: Load, what: str) -> None:
    text, before, after = SAME[what]
    first, other = (of(load(text.replace("...", each, 1))) for each in (before, after))
    assert first.tree == other.tree


def test_the_text_of_a_small_function_is_what_it_says(load: Load) -> None:
    made = of(
        load("RATES = {'b': 2.5, 'a': 1}\ndef f(x, y=3):\n    'F.'\n    return x * RATES['a'] + y  # f\n")
    )
    arguments = "arguments(args=[arg(arg='x',),arg(arg='y',),],defaults=[Constant(value=3,),],)"
    rate = "Subscript(value=Name(id='RATES',),slice=Constant(value='a',),)"
    product = f"BinOp(left=Name(id='x',),op=Mult(),right={rate},)"
    body = f"[Return(value=BinOp(left={product},op=Add(),right=Name(id='y',),),),]"
    does = f"FunctionDef(args={arguments},body={body},)"
    assert made.tree == f"#0\n#0=function(does={does},default y=3,RATES=dict['b':2.5,'a':1])"
    assert made.code == "def f(x, y=3):\n    return x * RATES['a'] + y"
    assert made.stable


def test_what_is_read_of_a_module_of_the_project_counts_and_the_rest_of_it_does_not(load: Load) -> None:
    text = "import limits_of_cards as limits\nf = lambda x: x > limits.HIGH and limits.over(x)"
    trees: list[str] = []
    for high, other, step in [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]:
        load(f"HIGH = {high}\nOTHER = {other}\ndef over(x): return x + {step}", "limits_of_cards")
        trees.append(of(load(text)).tree)
    assert trees[0] == trees[2]
    assert len(set(trees)) == 3
    assert "limits.HIGH=1,limits.over=#1" in trees[0]


def test_a_chain_of_modules_ends_at_the_first_value_that_is_none(load: Load) -> None:
    load("LIMITS = {'a': 1}", "inner_of_chain")
    load("import inner_of_chain as inner", "outer_of_chain")
    made = of(
        load(
            "import outer_of_chain as o\nf = lambda x: (o.inner.LIMITS.get(x), o.inner.LIMITS.keys(), o.gone)"
        )
    )
    assert "o.gone=NotImplemented,o.inner.LIMITS=dict['a':1])" in made.tree


def test_a_module_that_is_read_only_as_a_whole_counts_by_name(load: Load) -> None:
    made = of(load("import math\nf = lambda x: getattr(math, x)"))
    assert made.tree.endswith(",math=module math)")


def test_modules_that_have_left_the_table_of_modules_still_count(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees: list[str] = []
    for rate in (1, 1, 2):
        load(f"class Rates:\n    RATE = {rate}\ndef twice(x): return Rates.RATE * x", "rates_that_left")
        made = load("from rates_that_left import Rates, twice\nf = lambda x: (Rates.RATE, twice(x))")
        before = of(made).tree
        monkeypatch.delitem(sys.modules, "rates_that_left")
        trees.append(of(made).tree)
        assert trees[-1] == before
    assert trees[0] == trees[1] != trees[2]


def test_functions_that_call_each_other_come_to_an_end(load: Load) -> None:
    text = "def f(x): return g(x) if x else {end}\ndef g(x): return h(x) + f(x)\ndef h(x): return f(x) + g(x) + h(x)"
    assert of(load(text.format(end=0))).tree == of(load(text.format(end=0))).tree
    assert of(load(text.format(end=0))).tree != of(load(text.format(end=1))).tree


def test_containers_that_hold_themselves_come_to_an_end(load: Load) -> None:
    made = of(load("A = [1]\nA.append({'a': A})\nf = lambda x: A"))
    assert made.tree.endswith("A=list[1,dict['a':^2]])")


def test_containers_of_any_depth_are_told(load: Load) -> None:
    text = "A = [{end}]\nfor _ in range(5000): A = [A]\nf = lambda x: A"
    assert of(load(text.format(end=0))).tree != of(load(text.format(end=1))).tree


def test_a_set_of_functions_has_an_order(load: Load) -> None:
    text = "A = 1\ndef g(x): return x + A\ndef h(x): return x * A\nS = {%s}\nf = lambda x: S"
    assert of(load(text % "g, h")).tree == of(load(text % "h, g")).tree


def test_long_constants_stand_as_a_checksum(load: Load) -> None:
    made = of(load("A = 'a' * 10**6\nB = list(range(10**5))\nf = lambda x: (A, B)"))
    assert len(made.tree) < 1000


def test_a_function_with_names_that_are_not_there_yet_says_so(load: Load) -> None:
    made = of(load("f = lambda x: later(x)"))
    assert made.tree.endswith(",later=missing)")


def test_functions_of_libraries_count_by_name(load: Load) -> None:
    imports = "import json, numpy as np\nfrom json import dumps\nfrom numpy import log\nfrom decimal import Decimal\n"
    made = of(
        load(imports + "f = lambda x: (json.dumps(x), dumps(x), log(x), np.log(x), Decimal(x), len(x))")
    )
    names = "Decimal=class decimal.Decimal,dumps=function json.dumps,json=module json"
    assert made.tree.endswith(f",{names},log=numpy.ufunc numpy.log,np=module numpy)")


def test_of_a_function_that_a_library_wraps_only_the_project_s_own_is_told(load: Load) -> None:
    made = of(load("import functools\n@functools.singledispatch\ndef f(x):\n    return 1\n"))
    does = "FunctionDef(args=arguments(args=[arg(arg='x',),],),body=[Return(value=Constant(value=1,),),],)"
    wrapper = "wrapper functools.singledispatch.<locals>.wrapper"
    inner = "__wrapped__=#0,registry=mappingproxy[class builtins.object:#0]"
    assert made.tree == f"{wrapper}({inner})\n#0=function(does={does})"
    assert made.code == "def f(x):\n    return 1"


def test_a_value_that_no_text_can_hold_counts_by_the_name_of_its_class(load: Load) -> None:
    made = of(load("import threading\nA = object()\nB = threading.Event()\nf = lambda x: (A, B)"))
    assert made.tree.endswith(",A=builtins.object,B=threading.Event)")


def test_the_function_of_a_request_feature_counts_where_another_calls_it(load: Load) -> None:
    text = "import asof\n@asof.request_feature(request={'x': 'float64'})\ndef g(x): return x + %s\nf = lambda x: g(x)"
    assert of(load(text % 1)).tree == of(load(text % 1)).tree
    assert of(load(text % 1)).tree != of(load(text % 2)).tree
