"""Files of cases: `cases/**/*.yaml` and `cases/**/*.py` of a project become `Case` records.

YAML is read by a loader of our own: no tags, no aliases, bounded in size and depth, every mapping with its line.
A scalar is what it looks like and no more: `true` and `false`, `null` and `~`, whole numbers, numbers with a point
(kept exactly, as decimals); all else is text, so that `NO`, `0042` and `2025-03-01` are what they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from glob import escape
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import yaml

from asof.define.case import Case
from asof.define.names import check_unique
from asof.define.substitute import changed
from asof.errors import DefinitionError, UnknownName, did_you_mean
from asof.flows.load import load_modules

FOLDER = "cases"
_MAX_BYTES = 500_000
_MAX_DEPTH = 24
_TAG = "tag:yaml.org,2002:"
_KEYS = (
    "name",
    "service",
    "view",
    "views",
    "label",
    "labels",
    "cutoff",
    "types",
    "tolerance",
    "events",
    "expect",
)


class Located(dict[str, object]):
    """A mapping of a file, with the line where it begins and the line of each of its keys."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def line_of(row: Mapping[str, object], key: str | None = None) -> int | None:
    """The line of a row, or of one of its keys; None for a row that was written in Python."""
    return row.lines.get(key or "", row.line) if isinstance(row, Located) else None


def load_cases(root: Path) -> list[Case]:
    """The cases of a project, file by file in order of their paths.

    Raises:
        DefinitionError: a file that cannot be read, or a case that is not as it must be, with file and line.
        UserCodeError: a Python file raised.
    """
    cases: list[Case] = []
    files = [file for ending in ("yaml", "yml") for file in root.glob(f"{FOLDER}/**/*.{ending}")]
    for file in sorted(files):
        cases += _unique(read_yaml(file, file.relative_to(root).as_posix()))
    modules = [escape(file.relative_to(root).as_posix()) for file in sorted(root.glob(f"{FOLDER}/**/*.py"))]
    for module in load_modules(root, modules) if modules else ():
        cases += _unique(_cases_in(module, root))
    return cases


def _unique(cases: list[Case]) -> list[Case]:
    if cases:
        check_unique(
            cases[0].file, "cases", (case.name for case in cases), hint="say what each of them shows"
        )
    return cases


def _cases_in(module: ModuleType, root: Path) -> list[Case]:
    """The cases that a module's names hold, alone or in lists."""
    held: dict[int, Case] = {}
    for value in vars(module).values():
        for each in cast("Iterable[object]", value if isinstance(value, list | tuple) else (value,)):
            if isinstance(each, Case):
                held.setdefault(id(each), each)
    return [_relative(case, root) for case in held.values()]


def _relative(case: Case, root: Path) -> Case:
    file = Path(case.file)
    return changed(case, file=file.relative_to(root).as_posix()) if file.is_relative_to(root) else case


def read_yaml(file: Path, name: str) -> list[Case]:
    """The cases of a YAML file: a list of mappings, or one mapping.

    Raises:
        DefinitionError: it is too large, is not YAML as described above, or holds something that is no case.
    """
    size_bytes = file.stat().st_size
    if size_bytes > _MAX_BYTES:
        raise DefinitionError(
            f"{name}: {size_bytes:,} bytes are more than {_MAX_BYTES:,}", hint="split the file"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise DefinitionError(f"{name}: is not UTF-8 text") from exc
    found = _parse(text, name)
    items = cast("list[object]", found) if isinstance(found, list) else [] if found is None else [found]
    return [_case(item, name) for item in items]


def _parse(text: str, name: str) -> object:
    loader: Any = None
    try:
        loader = _Loader(text)
        loader.name = name
        node = loader.get_single_node()
        return None if node is None else _value(node, name)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = name if mark is None else f"{name}:{mark.line + 1}"
        problem = getattr(exc, "problem", None) or "a character that YAML does not allow"
        raise DefinitionError(f"{where}: is not YAML: {problem}") from exc
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """Composes nodes only; refuses aliases and deep nesting before anything is made of them."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        where = f"{self.name}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise DefinitionError(
                f"{where}: an alias", hint="write the rows out, or write the cases in Python"
            )
        if self.depth >= _MAX_DEPTH:
            raise DefinitionError(f"{where}: more than {_MAX_DEPTH} levels deep")
        self.depth += 1
        made = super().compose_node(parent, index)
        self.depth -= 1
        return made


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"(null|~|)\Z", ["n", "~", ""]),
    ("bool", r"(true|false)\Z", ["t", "f"]),
    ("int", r"-?(0|[1-9][0-9]{0,37})\Z", list("-0123456789")),
    ("float", r"-?(0|[1-9][0-9]{0,37})\.[0-9]{1,99}([eE][-+]?[0-9]{1,3})?\Z", list("-0123456789")),
    ("float", r"(-?\.inf|\.nan)\Z", list("-.")),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(_pattern), _first)


def _value(node: yaml.Node, name: str) -> object:
    """Plain Python values of a node: Located, list, str, int, Decimal, float (only inf and nan), bool, None."""
    where = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        return _mapping(node, name)
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return [_value(item, name) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node.tag.removeprefix(_TAG), node.value, where)
    raise DefinitionError(f"{where}: tag {node.tag!r}", hint="plain lists, mappings and values only")


def _mapping(node: yaml.MappingNode, name: str) -> Located:
    made = Located(node.start_mark.line + 1)
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise DefinitionError(f"{name}:{line}: a key that is no text")
        if key.value in made:
            raise DefinitionError(f"{name}:{line}: {key.value!r} stands twice", hint="leave one out")
        made[key.value] = _value(value, name)
        made.lines[key.value] = line
    return made


_SCALARS: dict[str, Callable[[str], object]] = {
    "str": str,
    "null": lambda _: None,
    "bool": {"true": True, "false": False}.__getitem__,
    "int": int,
    "float": lambda text: float(text.replace(".", "")) if text[-1] in "fn" else Decimal(text),
}


def _scalar(tag: str, text: str, where: str) -> object:
    if tag not in _SCALARS:
        raise DefinitionError(f"{where}: tag {tag!r}", hint="plain lists, mappings and values only")
    try:
        return _SCALARS[tag](text)
    except (KeyError, ValueError, InvalidOperation) as exc:
        raise DefinitionError(
            f"{where}: {text!r} is not of the type {tag}", hint="leave the tag out"
        ) from exc


def _case(item: object, name: str) -> Case:
    if not isinstance(item, Located):
        raise DefinitionError(
            f"{name}: {type(item).__name__} is no case", hint="a list of mappings with a name each"
        )
    for key in item:
        if key not in _KEYS:
            where = f"{name}:{line_of(item, key)}"
            raise UnknownName(f"{where}: a case has no {key!r}", hint=did_you_mean(key, _KEYS), key=key)
    facts: dict[str, Any] = {"name": "", "expect": (), **item, "place": (name, item.line)}
    if isinstance(facts.get("tolerance"), Decimal):
        facts["tolerance"] = float(facts["tolerance"])
    for key in ("views", "labels"):
        facts[key] = facts.get(key) or ()
    if isinstance(facts.get("events"), Located):
        facts["events"] = {source: rows or () for source, rows in facts["events"].items()}
    return Case(facts.pop("name"), **facts)
