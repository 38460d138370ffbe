"""A function is found where it stands, and its text is the same in every process and version of Python."""

from __future__ import annotations

import functools
import json
import linecache
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asof.define.function_source import function_source
from tests.define.conftest import Load

ROOT = Path(__file__).parents[2]

# Prints the checksum of the text of every function of the module `features`.
PROGRAM = """
import hashlib, json, types
import features
from asof.define.function_source import function_source
made = {name: function_source(f) for name, f in vars(features).items() if isinstance(f, types.FunctionType)}
assert all(each.stable for each in made.values())
print(json.dumps({name: hashlib.sha256(each.tree.encode()).hexdigest() for name, each in made.items()}))
"""

FEATURES = r'''
from __future__ import annotations
import collections, dataclasses, datetime, enum, functools, io, operator, pathlib, re, typing

class Kind(enum.Enum):
    CARD = "card"
    ACH = "ach"

class Grade(enum.IntFlag):
    LOW = 1
    HIGH = 2

@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    low: float = -0.0
    high: int = 10**400
    kinds: frozenset = frozenset({"a", "b", "ü", "\U0001f978"})
    def over(self, x): return x > self.high or Kind.CARD in SEEN

class Pair(typing.NamedTuple):
    a: int
    b: str = "b"

class Scale(typing.Generic[typing.TypeVar("T")]):
    __slots__ = ("rate", "__own")
    def __init__(self, rate): self.rate, self.__own = rate, rate
    @property
    def double(self): return self.rate * 2
    @functools.cached_property
    def triple(self): return self.rate * 3
    @classmethod
    def make(cls): return cls(3)
    @staticmethod
    def twice(x): return x * 2

SEEN = {Kind.CARD, Kind.ACH, None, (1, 2.5), "x", b"\x00", 3 + 4j}
LIMITS, PAIR, SCALE = Limits(), Pair(1), Scale(2)
WHEN = datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc)
TABLE = collections.OrderedDict(b=datetime.timedelta(days=1), a=re.compile(r"\d+", re.I), c=pathlib.Path("a/b"))

LIB = (collections.deque([1]), functools.reduce, WHEN.tzinfo.utcoffset, io.StringIO, open, operator.itemgetter(1))

def marked(**options):
    def mark(f):
        f.options = options
        return f
    return mark

@marked(a=1)
@marked(
    b=[1,
       2]
)
def decorated(x: int, /, y: "float" = 1e400, *rest: int, z: list[int] | None = None, **more: object) -> dict:
    """A docstring."""
    total: float = 0
    count: int
    return {**more, "total": total, "z": z, "rest": rest, "y": y}

def texts(x, w=8):
    a = f"{x:>{w}}" f'{x!r:^{w}.{w}}' "plain" rf"\d{x:3}" f"{x = }" f"{x=!r:>5}" f"{{{x}}}" f"" u"u"
    b = f"{x:}" f"{f'{x:{w}{w}}'}" f"\N{DIGIT ONE}{x:\n>3}" f"""{
        x
    }""" f"{x:{{}}}" f"{(lambda q: q)(x)}" f"{x:%Y-%m-%d}" f"{x['a']!s}{{}}"
    return a, b, "\x41\u00e9\U0001f978\N{BULLET}\t\\ \
end", b"\xff\n", r"\n", "𝟘", "\ud800", '\'"'

def numbers(): return 1_000, 0xff, 0b1, 0o7, 1e3, -1.5, 2j, 1e400, 0xHUGE, -0.0, ..., None, True, not 1

def scopes(x, n=3):
    squares = [i * j + n for i in x if (last := i) for j in range(i)]
    return {k: v for k, v in zip(x, squares)}, {i for i in x} if 0 else last, lambda *a, n=n, **k: (a, n, k)

def matches(x):
    match x:
        case None | True | -1 | 2+3j: return 0
        case [1, *rest] if (n := len(rest)) > 1: return n
        case {"a": [b, _], **more}: return b, more
        case Kind.CARD | Limits(low=0, high=_) as y: return y
        case str(): return LIMITS.over(x)
        case _: pass
    try:
        return x[1:2, ::3, ...]
    except* (ValueError, TypeError) as exc:
        raise RuntimeError from exc
    finally:
        del x

def statements(x):
    global SEEN
    while x:
        x -= 1
        if x == 1: continue
        elif x == 2: break
        else: pass
    else:
        x @= 2
    with open(x) as a, (yield x) as b: assert a < b <= x, "no"
    for a, *b in x: yield from b
    import os.path as p
    class Inner(Kind, metaclass=type):
        "Inner."
        field: int = 3
    return p, Inner, SEEN, Pair, collections.deque, LIB

async def waits(x):
    async with x as y:
        async for z in y: await z
        return [i async for i in x]

def reads(x): return SCALE.double, PAIR, WHEN, TABLE, SEEN, Grade.LOW | Grade.HIGH, Scale.make, Scale.twice(x)

add, subtract = (lambda x, y=1: x + y), (lambda x, y=1: x - y)
one, two = lambda: 1, lambda: 2
nested = lambda x: lambda y: [x, y]
bound = functools.partial(nested, SCALE).func
'''.replace("HUGE", "f" * 4000)


def checksums(python: str, folder: Path, seed: str = "random") -> dict[str, str]:
    (folder / "features.py").write_text(FEATURES, encoding="utf-8")
    places = os.pathsep.join([str(ROOT / "src"), str(folder)])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": places,
        "PYTHONHASHSEED": seed,
        "PYTHONUTF8": "1",
    }
    command = [python, "-W", "error", "-B", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: on the path, or one that pyenv keeps."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if python and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return python
    return None


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_texts_are_the_same_in_every_version_of_python(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    assert checksums(python, tmp_path) == checksums(sys.executable, tmp_path)


def test_texts_are_the_same_in_every_process(tmp_path: Path) -> None:
    first = checksums(sys.executable, tmp_path, seed="1")
    assert len(first) == len(set(first.values())) + 1  # `nested` stands in `bound` again
    assert {json.dumps(checksums(sys.executable, tmp_path, seed=seed)) for seed in "23"} == {
        json.dumps(first)
    }


LAMBDAS = """
a, b = lambda x: x + 1, lambda x: x + 2
c, d = lambda: 1, lambda: 2
e, g = lambda: (lambda: 1), (lambda x: (lambda: x))(2)
h, i = lambda ä: ä, lambda x: x if x else (
    lambda y: y)
j = [lambda x, k=k: x + k for k in range(3)]; k, l = lambda: (yield), lambda: (yield 1)
"""


def test_lambdas_on_one_line_are_told_apart(load: Load) -> None:
    made = load(LAMBDAS)
    codes = {name: function_source(getattr(made, name)).code for name in "abcdeghikl"}
    assert codes == {
        "a": "lambda x: x + 1",
        "b": "lambda x: x + 2",
        "c": "lambda: 1",
        "d": "lambda: 2",
        "e": "lambda: lambda: 1",
        "g": "lambda: x",
        "h": "lambda ä: ä",
        "i": "lambda x: x if x else lambda y: y",
        "k": "lambda: (yield)",
        "l": "lambda: (yield 1)",
    }
    assert function_source(made.e()).code == "lambda: 1"
    assert function_source(made.i(0)).code == "lambda y: y"
    assert len({function_source(each).tree for each in made.j}) == 3
    assert all(function_source(getattr(made, name)).stable for name in codes)


def test_a_function_of_a_name_that_is_given_twice_is_the_one_that_runs(load: Load) -> None:
    made = load("def f(x):\n    return 1\ng = f\ndef f(x):\n    return 2\n")
    assert function_source(made.g).code == "def f(x):\n    return 1"
    assert function_source(made.f).code == "def f(x):\n    return 2"


def test_a_file_that_was_edited_since_does_not_speak_for_the_function_that_runs(load: Load) -> None:
    made = load("def f(x):\n    return 1\n")
    before = function_source(made.f)
    Path(made.__file__ or "").write_text("def f(x):\n    return 22\n")
    edited = function_source(made.f)
    assert before.stable
    assert not edited.stable
    assert "22" not in edited.tree
    again = load("def f(x):\n    return 22\n", made.__name__)
    assert function_source(again.f).stable


def test_a_function_with_asserts_is_found_although_pytest_has_rewritten_them() -> None:
    def checked(x: int) -> int:
        assert x > 0
        return x

    assert function_source(checked).code == "def checked(x):\n    assert x > 0\n    return x"


def test_a_function_made_at_run_time_counts_by_its_byte_code() -> None:
    def made(text: str) -> Callable[..., object]:
        names: dict[str, Callable[..., object]] = {"A": 3}  # type: ignore[dict-item]
        exec(text, names)  # noqa: S102 - that is the case
        return names["f"]

    one, same, other = (made(f"def f(x): return [x + {n} + A for _ in x]") for n in (1, 1, 2))
    assert not function_source(one).stable
    assert function_source(one) == function_source(same)
    assert function_source(one).tree != function_source(other).tree
    assert " at 0x" not in function_source(one).tree
    assert "A=3" in function_source(one).tree


def test_a_helper_without_source_makes_a_function_unstable(load: Load) -> None:
    made = load("exec('def g(x): return x')\nf = lambda x: g(x)")
    assert not function_source(made.f).stable
    assert function_source(made.f).code == "lambda x: g(x)"


@pytest.mark.parametrize("function", [len, math.sqrt, np.log, functools.partial(max, 1)])
def test_a_function_that_is_not_pythons_has_no_source(function: Callable[..., object]) -> None:
    made = function_source(function)
    assert not made.stable
    assert made.tree == function_source(function).tree
    assert re.search(r"len|sqrt|log|max", made.tree)


def test_a_cell_of_a_notebook_has_source(monkeypatch: pytest.MonkeyPatch) -> None:
    text, name = "A = 2\ndef f(x):\n    # times\n    return x * A\n", "<ipython-input-1-abc>"
    monkeypatch.setitem(linecache.cache, name, (len(text), None, text.splitlines(keepends=True), name))
    names: dict[str, Callable[..., object]] = {}
    exec(compile(text, name, "exec"), names)  # noqa: S102 - as a notebook does
    made = function_source(names["f"])
    assert made.stable
    assert made.code == "def f(x):\n    return x * A"


def test_a_generated_scorecard_is_not_too_deep(load: Load) -> None:
    terms = " + ".join(f"{n} * x[{n}]" for n in range(800))
    rules = "\n    elif x == ".join(f"{n}:\n        return {n}" for n in range(800))
    made = load(f"A = 3\ndef f(x):\n    return A + {terms}\ndef g(x):\n    if x == {rules}\n")
    assert function_source(made.f).stable
    assert "A=3" in function_source(made.f).tree
    assert function_source(made.f).code.endswith("799 * x[799]")
    assert function_source(made.g).tree.count("Return") == 800
