"""Loading a project: the user's modules are run, and what they define is found. Errors in them are told as
theirs.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

from asof.define.kinds import KINDS, Definition, below, kind_of, spoken
from asof.define.place import place_of
from asof.define.spec import Spec, specs_of
from asof.errors import AsofError, ConfigError, DefinitionError, UnknownName, UserCodeError, did_you_mean
from asof.settings import DEFINITIONS


class Definitions:
    """The definitions of a project by kind and name."""

    def __init__(self, objects: Iterable[object] = (), *, root: Path | None = None) -> None:
        self._root = root
        self._specs: dict[str, Spec] | None = None
        self._found: dict[str, dict[str, Definition]] = {kind: {} for kind in KINDS}
        self._seen: dict[int, Definition] = {}  # each is looked at once, however many stand on it
        for thing in objects:
            self.add(thing)

    def add(self, thing: object) -> None:
        """Take one definition and what it stands on; anything else is passed over.

        Raises:
            DefinitionError: another definition of the kind has this name.
        """
        kind = kind_of(thing)
        if kind is None or id(thing) in self._seen:
            return
        made = cast("Definition", thing)
        self._specs = None
        self._seen[id(thing)] = made
        known = self._found[kind].setdefault(made.name, made)
        if known is not made and not _same(known, made):
            first, second = (place_of(each, self._root) for each in (known, made))
            raise DefinitionError(
                (f"{second}: " if second else "")
                + f"{spoken(kind)} {made.name!r} is defined twice"
                + (f", first in {first}" if first else ""),
                hint="give one of them another name",
                name=made.name,
                at=second,
            )
        for each in below(thing):
            self.add(each)

    def specs(self) -> dict[str, Spec]:
        """All definitions as data, by key; see `specs_of`."""
        if self._specs is None:
            self._specs = specs_of(self.all())
        return self._specs

    def list(self, kind: str) -> list[Definition]:
        """All definitions of a kind, in order of appearance."""
        return list(self._found[kind].values())

    def all(self) -> list[Definition]:
        """All definitions, kind by kind."""
        return [thing for found in self._found.values() for thing in found.values()]

    def get(self, kind: str, name: str) -> Definition:
        """The definition of a name.

        Raises:
            UnknownName: there is none; the hint names the nearest.
        """
        found = self._found[kind].get(name)
        if found is None:
            hint = did_you_mean(name, self._found[kind]) or f"the project defines no {spoken(kind)}"
            raise UnknownName(f"no {spoken(kind)} {name!r}", hint=hint, name=name, kind=kind)
        return found


def check_patterns(root: Path, patterns: Sequence[str]) -> None:
    """Nothing, when each pattern has a file. Of the default patterns one is enough.

    Raises:
        ConfigError: one has none: a misspelt one would read as if all that it names had been taken away.
    """
    empty = [pattern for pattern in patterns if not _files(root, pattern)]
    if empty and (len(empty) == len(patterns) or tuple(patterns) != DEFINITIONS):
        raise ConfigError(
            f"definitions: no file matches {', '.join(map(repr, empty))}",
            hint="the setting `definitions` names the files that hold the definitions",
            setting="definitions",
        )


def _files(root: Path, pattern: str) -> list[Path]:
    return [file for file in sorted(root.glob(pattern)) if file.is_file()]


def _same(one: Definition, other: Definition) -> bool:
    """Equal in all fields, in those for people too."""
    return type(one) is type(other) and all(
        getattr(one, each.name) == getattr(other, each.name) for each in fields(one)
    )


def load_modules(root: Path, patterns: Iterable[str]) -> list[ModuleType]:
    """The modules that the patterns name, run in the order of the patterns and by name; each once, and each can
    import its neighbours. They leave no trace in `sys.modules`, so that every load is fresh and projects do not mix.

    Raises:
        DefinitionError: a definition in a module is wrong, told with file and line.
        UserCodeError: a module raised.
    """
    files = list(dict.fromkeys(file for pattern in patterns for file in _files(root, pattern)))
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the same for what they import
    try:
        _forget(root)
        return [_run(file, root) for file in files if file.name != "__init__.py"]
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(root))
        _forget(root)


class _Fresh(SourceFileLoader):
    """Runs the file as it is now: Python's cache of byte code takes an edit of equal size within a second for none."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file, compiled now."""
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


def _forget(root: Path) -> None:
    for name, module in list(sys.modules.items()):
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(place and Path(place).is_relative_to(root) for place in places):
            del sys.modules[name]


def _run(file: Path, root: Path) -> ModuleType:
    relative = file.relative_to(root)
    name = ".".join(relative.with_suffix("").parts)
    if name in sys.modules:  # a neighbour has imported it
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_Fresh(name, str(file)))
    if spec is None or spec.loader is None:
        raise UserCodeError(f"{relative}: cannot be loaded as a module", file=str(relative))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except AsofError as exc:
        line = _line_in(exc, file, root)
        raise _at(exc, line) from exc
    except SyntaxError as exc:
        raise UserCodeError(
            f"{relative}:{exc.lineno}: {exc.msg}", file=str(relative), line=exc.lineno
        ) from exc
    except Exception as exc:  # whatever a user's module raises is told as theirs
        where = _line_in(exc, file, root)
        raise UserCodeError(f"{where}: {type(exc).__name__}: {exc}", file=str(relative)) from exc
    return module


def _line_in(exc: BaseException, file: Path, root: Path) -> str:
    """`file:line` of the innermost frame in the user's project."""
    lines = [f for f in traceback.extract_tb(exc.__traceback__) if Path(f.filename).is_relative_to(root)]
    place = lines[-1] if lines else None
    if place is None:
        return str(file.relative_to(root))
    return f"{Path(place.filename).relative_to(root)}:{place.lineno}"


def _at(exc: AsofError, where: str) -> AsofError:
    """The same error with the place in the user's module."""
    if not isinstance(exc, DefinitionError):
        return exc
    return type(exc)(f"{where}: {exc.message}", hint=exc.hint, **{**exc.facts, "at": where})
