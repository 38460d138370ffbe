"""The house rules on imports, names and sizes, read from the source text of every module in src/asof.

A rule that fails names the file and the line. Exceptions stand in the tables below, each with its reason; one that is
no longer needed fails too. Budgets, texts and lock files: test_house_budgets.py.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "asof"

# Who may import whom: downwards only. Modules that stand directly in asof/ are floor 0.
FLOORS = {
    "define": 1,
    "compute": 2,
    "registry": 3,
    "engines": 3,
    "online": 3,
    "streams": 3,
    "flows": 4,
    "cost": 4,
    "serving": 5,
    "gateway": 5,
    "console": 5,
    "cli": 6,
    "__main__": 6,
}
FLOORS_OF_SEPARATE_ROOMS = {3, 5}
TESTING_MAY_IMPORT_FLOORS = {0, 1, 2, 3}

# Nobody imports testing, but for these files: path below src/asof -> reason.
DOORS_TO_TESTING: dict[str, str] = {
    "cli/test.py": "`asof test` is a door to it: users' definitions on generated histories, against the oracle",
}

# Which files may import a third-party library: paths below src/asof, a folder ends in "/". Standard library otherwise.
OWNERS: dict[str, tuple[str, ...]] = {
    # Columns and row numbers on their way to and from the kernels.
    "numpy": ("compute/", "flows/", "serving/", "streams/", "testing/"),
    # The table type between rooms.
    "pyarrow": ("compute/", "engines/", "flows/", "serving/", "streams/", "testing/"),
    "numba": ("compute/_jit.py",),
    "duckdb": ("engines/duckdb.py",),
    # Only for `.to_polars()`; pandas is never imported, Arrow does it.
    "polars": ("flows/result.py",),
    # The registry's tables in SQLite and PostgreSQL; drivers are named by the URL and never imported.
    "sqlalchemy": ("registry/",),
    "alembic": ("registry/migrate.py", "registry/migrations/"),
    # Lineage events: its classes and its transports, loaded when the first event is made.
    "openlineage": ("flows/openlineage.py", "flows/openlineage_events.py"),
    # Online stores: one driver, one file.
    "lmdb": ("online/lmdb.py", "online/lmdb_environment.py", "online/lmdb_errors.py"),
    "redis": ("online/redis.py", "streams/redis_client.py"),
    "psycopg": ("online/postgres.py",),
    "boto3": ("online/dynamodb.py",),
    "botocore": ("online/dynamodb.py",),
    # Kafka: the driver's clients are made in one file; what each is used for is another's.
    "confluent_kafka": (
        "streams/kafka_client.py",
        "streams/kafka_append.py",
        "streams/kafka_chunks.py",
        "streams/kafka_follow.py",
        "streams/kafka_read.py",
        "streams/kafka_topic.py",
    ),
    "fastavro": ("streams/avro.py",),
    # The feature server: what runs it, the wire's JSON, what is counted and traced; and its client for asyncio.
    "granian": ("serving/server.py",),
    "msgspec": ("serving/", "streams/"),
    "prometheus_client": ("serving/metrics.py", "serving/stream_metrics.py"),
    "opentelemetry": ("serving/tracing.py",),
    "httpx": ("serving/client_async.py",),
    # Cases of a user's project; by a loader that makes plain values only.
    "yaml": ("flows/case_files.py",),
    "click": ("cli/",),
    "rich": ("cli/console.py",),
}

# Own imports inside of functions, other than in cli/ and in asof's own __getattr__: "file:function" -> reason.
LOADERS: dict[str, str] = {}

# Functions of more than 60 lines (without their docstring): "file:function" -> reason.
LONG_FUNCTIONS: dict[str, str] = {
    "compute/fold_records.py:fold_all": "one line for each array handed on, and each costs time (bench/online.py)",
    "compute/fold_records.py:fold_view": "the same: it prepares a dozen arrays, which parts would hand back",
    "serving/metrics.py:Metrics.__init__": "the table of metrics",
}

FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
TIME_OF_DAY = {"now", "utcnow", "today", "time", "time_ns", "localtime", "gmtime"}
STOPWATCHES = {
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "process_time_ns",
    "monotonic",
    "monotonic_ns",
}
OWNERS_OF_TIME = {
    "clock.py": TIME_OF_DAY,
    "usage.py": STOPWATCHES,
    "online/retry.py": STOPWATCHES,
    "flows/stream.py": {"monotonic"},  # how long a back end is tried again
    "flows/read_online.py": {"monotonic"},  # how long what the store says of its views is believed
    "serving/client.py": {"monotonic"},  # a call's deadline, over all its attempts
    # The deadline of a call, over all that it waits for.
    "streams/kafka_append.py": {"monotonic"},
    "streams/kafka_client.py": {"monotonic"},
    "streams/kafka_follow.py": {"monotonic"},
    "streams/kafka_read.py": {"monotonic"},
    "streams/kafka_topic.py": {"monotonic"},
    "streams/log_follow.py": {"monotonic"},  # how long a follower waits, and how often it looks at the others
}


@dataclass(frozen=True)
class Import:
    """One imported module of one file: where it stands and whether it happens when the file is imported."""

    module: str
    line: int
    function: str | None
    for_types_only: bool


@dataclass(frozen=True)
class Module:
    path: str

    @cached_property
    def text(self) -> str:
        return (SRC / self.path).read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def name(self) -> str:
        return ".".join(["asof", *Path(self.path).with_suffix("").parts]).removesuffix(".__init__")

    @cached_property
    def imports(self) -> list[Import]:
        is_package = self.path.endswith("__init__.py")
        return [*_imports(self.tree.body, self.name, is_package=is_package), *_imports_by_call(self.tree)]


def _imports(
    nodes: list[ast.stmt], name: str, *, is_package: bool, function: str | None = None, types: bool = False
) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, function, types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from asof.compute import kernels` may name a module: both readings are kept, see _target.
            yield from (Import(f"{base}:{alias.name}", node.lineno, function, types) for alias in node.names)
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        guarded = types or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for child in getattr(node, part, []):
                yield from _imports([child], name, is_package=is_package, function=inner, types=guarded)


def _imports_by_call(tree: ast.Module) -> Iterator[Import]:
    """`importlib.import_module("numba")` is an import too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            (name,) = node.args
            if isinstance(name, ast.Constant):
                yield Import(str(name.value), node.lineno, "import_module", for_types_only=False)


MODULES = [Module(str(path.relative_to(SRC).as_posix())) for path in sorted(SRC.rglob("*.py"))]
BY_NAME = {module.name: module for module in MODULES}


def _target(found: Import) -> str:
    """The module that an import loads: `asof.compute:kernels` is asof.compute.kernels if that is a module."""
    base, _, attribute = found.module.partition(":")
    return f"{base}.{attribute}" if attribute and f"{base}.{attribute}" in BY_NAME else base


def _room(name: str) -> str:
    """The room of a module of ours: `compute` for asof.compute.kernels, `` for asof.errors and for asof itself."""
    parts = name.split(".")
    if parts[-1] == "__main__":
        return "__main__"
    module = BY_NAME.get(".".join(parts[:2]))
    return "" if len(parts) < 2 or (module and not module.path.endswith("__init__.py")) else parts[1]


def _may_import(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    if imported == "testing":
        return False
    floor, below = FLOORS.get(importer, 0), FLOORS.get(imported, 0)
    if importer == "testing":
        return below in TESTING_MAY_IMPORT_FLOORS
    return below < floor or (below == floor and floor not in FLOORS_OF_SEPARATE_ROOMS)


def _own_imports(module: Module) -> Iterator[tuple[Import, str]]:
    for found in module.imports:
        target = _target(found)
        if target.split(".")[0] == "asof":
            yield found, target


def _owns(path: str, owners: tuple[str, ...]) -> bool:
    return any(path == owner or (owner.endswith("/") and path.startswith(owner)) for owner in owners)


def _check(problems: list[str], rule: str) -> None:
    assert not problems, rule + "".join(f"\n  src/asof/{problem}" for problem in sorted(problems))


def test_every_room_has_a_floor() -> None:
    rooms = {module.path.split("/")[0] for module in MODULES if "/" in module.path}
    assert rooms <= {*FLOORS, "testing"}, (
        "a new room needs a row in FLOORS and in the floor plan (ARCHITECTURE.md)"
    )


def test_imports_go_down_only() -> None:
    used: set[str] = set()
    problems: list[str] = []
    for module in MODULES:
        for found, target in _own_imports(module):
            if module.path in DOORS_TO_TESTING and _room(target) == "testing":
                used.add(module.path)
            elif module.name != "asof" and not _may_import(_room(module.name), _room(target)):
                importer = _room(module.name) or "floor 0"
                problems.append(f"{module.path}:{found.line}: {importer} may not import {target}")
    _check(problems, "imports go to lower floors only, and never sideways on floors 3 and 5:")
    assert not DOORS_TO_TESTING.keys() - used, "no longer needed in DOORS_TO_TESTING"


def test_imports_have_no_cycles() -> None:
    graph = {
        module.name: {
            target
            for found, target in _own_imports(module)
            if found.function is None and not found.for_types_only
        }
        - {module.name}
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(" -> ".join(exc.args[1]))


def test_own_imports_stand_at_the_top_of_the_file() -> None:
    used: set[str] = set()
    problems: list[str] = []
    for module in MODULES:
        for found, target in _own_imports(module):
            place = f"{module.path}:{found.function}"
            if place in LOADERS:
                used.add(place)
            elif found.function and not module.path.startswith("cli/") and place != "__init__.py:__getattr__":
                problems.append(f"{module.path}:{found.line}: {found.function}() imports {target}")
    _check(problems, "an import of ours inside of a function hides a dependency:")
    assert not LOADERS.keys() - used, "no longer needed in LOADERS"


def test_a_library_is_imported_only_by_the_files_that_own_it() -> None:
    used: set[tuple[str, str]] = set()
    problems: list[str] = []
    for module in MODULES:
        for found in module.imports:
            library = found.module.split(":")[0].split(".")[0]
            owners = OWNERS.get(library, ())
            if library in {*sys.stdlib_module_names, "asof"}:
                continue
            if _owns(module.path, owners):
                used |= {(library, owner) for owner in owners if _owns(module.path, (owner,))}
            else:
                owned = f"that is for {', '.join(owners)}" if owners else "it is in nobody's row"
                problems.append(f"{module.path}:{found.line}: imports {library}; {owned}")
    _check(problems, "third-party libraries have owners (OWNERS):")
    unused = [
        f"{library}: {owner}"
        for library, owners in OWNERS.items()
        for owner in owners
        if any(_owns(module.path, (owner,)) for module in MODULES) and (library, owner) not in used
    ]
    assert not unused, f"no longer needed in OWNERS: {unused}"


def _clock_reads(module: Module) -> Iterator[tuple[int, str]]:
    """Where it asks for the time or holds a stopwatch: `time.time()`, `datetime.now()`, `from time import ...`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in {
            "time",
            "datetime",
            "date",
        }:
            yield node.lineno, node.attr
    for found in module.imports:
        if found.module.startswith("time:"):
            yield found.line, found.module.removeprefix("time:")


def test_only_the_clock_tells_the_time_and_only_receipts_hold_a_stopwatch() -> None:
    problems = [
        f"{module.path}:{line}: {read}"
        for module in MODULES
        for line, read in _clock_reads(module)
        if read in (TIME_OF_DAY | STOPWATCHES) - OWNERS_OF_TIME.get(module.path, set())
    ]
    _check(problems, "time comes from a Clock, and durations from a Meter:")


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Each function's name, line, and length in lines without its docstring."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield prefix + node.name, node.lineno, length
            yield from _functions(node, f"{prefix}{node.name}.")
        else:
            yield from _functions(node, f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix)


def _python_files() -> Iterator[Path]:
    """The project's own Python files; a folder that begins with a dot (an environment, a cache) is not its own."""
    for top in ("src", "tests", "examples", "bench", "docs"):
        for path in (ROOT / top).rglob("*.py"):
            if not any(part.startswith(".") for part in path.relative_to(ROOT).parts):
                yield path.relative_to(ROOT)


def test_files_are_small() -> None:
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in _python_files()}
    assert not {path: count for path, count in lines.items() if count > 700}, "that is several files"


def test_functions_are_short() -> None:
    functions = {f"{m.path}:{name}": length for m in MODULES for name, _, length in _functions(m.tree)}
    long = {place for place, length in functions.items() if length > 60}
    _check(
        list(long - LONG_FUNCTIONS.keys()), "a function of over 60 lines needs a reason in LONG_FUNCTIONS:"
    )
    assert not LONG_FUNCTIONS.keys() - long, "no longer needed in LONG_FUNCTIONS"
    assert statistics.median(functions.values()) <= 10


def test_classes_and_protocols_are_narrow() -> None:
    problems: list[str] = []
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                is_protocol = any(ast.unparse(base).split("[")[0].endswith("Protocol") for base in node.bases)
                methods = [
                    each.name
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not (is_protocol and "property" in map(ast.unparse, each.decorator_list))
                ]
                public = [name for name in methods if not name.startswith("_")]
                if len(public) > (7 if is_protocol else 12):
                    problems.append(
                        f"{module.path}:{node.lineno}: {node.name} has {len(public)} public methods"
                    )
    _check(problems, "a class has at most 12 public methods, a Protocol at most 7:")


def test_no_module_is_named_for_what_does_not_fit_elsewhere() -> None:
    words = {
        path: {word for part in path.with_suffix("").parts for word in part.split("_")}
        for path in _python_files()
    }
    assert not {str(path) for path, each in words.items() if each & FORBIDDEN_NAMES}
