"""What a function does, as text: its own source and all that it reads from outside.

Equal text means equal behaviour, as far as can be told without running anything. Formatting, comments, docstrings,
annotations, decorators and the function's name do not count; the names of its variables do. What it reads counts
with the value that it has when it is asked: defaults, closure variables, module globals, and the attributes that
it reads of the project's own modules.

| read | counts by |
|---|---|
| constants, containers of them, NumPy arrays | value; the order within a set or dict does not count |
| functions of the project | their source and what they read, in turn |
| classes of the project | their members and bases |
| enum members, dataclasses, objects of the project's classes | class and fields |
| partials and bound methods | the function and what it is bound to |
| functions that a library has wrapped or holds | the function, and the library's by name, without its options |
| functions, classes and modules of libraries | qualified name |
| anything else: a DataFrame, a model, a connection | the name of its class, **not its value** |

What a function imports when it runs counts by name. No text holds an address in memory or follows the order of
hashes. Next: `source_tree.py` finds source, `value_text.py` and `constant_text.py` tell values, `project_code.py`
knows what the project's own is.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

from asof.define.constant_text import public_name
from asof.define.project_code import Project, core_function, state_of, wrapped
from asof.define.source_tree import (
    FunctionText,
    attributes_read,
    code_text,
    find_function,
    names_read,
    tree_text,
)
from asof.define.value_text import VALUES, Reader, Tell, joined, qualified

# They differ from machine to machine.
_OF_EVERY_MODULE = {f"__{name}__" for name in ("name", "file", "doc", "spec", "loader", "package", "path")}


@dataclass(frozen=True)
class FunctionSource:
    """What a function does: `tree` to compare and to hash, `code` to show.

    `tree` is the same in every process and in Python 3.11 to 3.13. `code` is the function alone, as this version of
    Python writes it. `stable` is False where no source was found for something that counts, and byte code had to
    stand in, which is another in every version of Python.
    """

    tree: str
    code: str
    stable: bool


def function_source(function: Callable[..., Any]) -> FunctionSource:
    """Everything that the function's result depends on, as far as it can be told.

    Example:
        >>> FEE = 0.3
        >>> def cost(amount: float) -> float:
        ...     # per transaction
        ...     return amount * FEE
        >>> made = function_source(cost)
        >>> print(made.code)
        def cost(amount):
            return amount * FEE
        >>> made.stable, "FEE=0.3" in made.tree
        (True, True)
    """
    core = core_function(function)
    reader = Reader(Project(core), _ROWS)
    tree = reader.everything(function)
    found = find_function(core.__code__, core.__globals__) if core else None
    code = code_text(found) if found else qualified(core or function)
    return FunctionSource(tree, code, reader.stable and found is not None)


def _function(reader: Reader, function: FunctionType) -> str:
    if not reader.project.owns_function(function):
        return _library_function(reader, function)
    found = find_function(function.__code__, function.__globals__)
    if reader.shallow:
        return _does(reader, function, found)
    return reader.once(function, lambda: _own_function(reader, function, found))


def _own_function(reader: Reader, function: FunctionType, found: FunctionText | None) -> str:
    reader.stable &= found is not None
    parts = [*_defaults(reader, function), *_reads(reader, function, found)]
    return joined("function", [("does", _does(reader, function, found)), *parts])


def _does(reader: Reader, function: FunctionType, found: FunctionText | None) -> str:
    if found is not None:
        return tree_text(found.node)
    return f"{function.__qualname__} {_byte_code(reader, function.__code__)}"


def _byte_code(reader: Reader, code: CodeType) -> str:
    told = [_byte_code(reader, c) if isinstance(c, CodeType) else reader.text(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_varnames} {code.co_names} [{','.join(told)}]"


def _defaults(reader: Reader, function: FunctionType) -> Iterator[tuple[str, str]]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    named = {**dict(zip(names, values, strict=True)), **(function.__kwdefaults__ or {})}
    return ((f"default {name}", reader.text(value)) for name, value in sorted(named.items()))


def _reads(reader: Reader, function: FunctionType, found: FunctionText | None) -> Iterator[tuple[str, str]]:
    """What the function's free variables and globals are."""
    code, outside = function.__code__, function.__globals__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    names = names_read(found, code.co_freevars) if found else {*cells, *_names(code)}
    for name in sorted(names - _OF_EVERY_MODULE):
        if name in cells:
            yield name, _cell(reader, cells[name])
        elif name in outside:
            yield from _global(reader, name, outside[name], found)
        elif found and name not in function.__builtins__:  # builtins count by name, and that is in the tree
            yield name, "missing"


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _cell(reader: Reader, cell: CellType) -> str:
    try:
        value = cell.cell_contents
    except ValueError:  # a variable that is set later
        return "missing"
    return reader.text(value)


def _global(
    reader: Reader, name: str, value: object, found: FunctionText | None
) -> Iterator[tuple[str, str]]:
    """A global; of a module of the project what is read of it."""
    told: dict[str, object] = {}
    chains = attributes_read(found.node, name) if found and isinstance(value, ModuleType) else ()
    for chain in sorted(chains) or [()]:
        path, held = name, value
        for attribute in chain:
            if not (isinstance(held, ModuleType) and reader.project.owns_module(held)):
                break
            path, held = f"{path}.{attribute}", vars(held).get(attribute, NotImplemented)
        told[path] = held
    return reader.texts(told.items())


def _library_function(reader: Reader, function: FunctionType) -> str:
    """A library's function by name, and where it is a wrapper, with the functions of the project that it holds."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    held = {**{name: cell.cell_contents for name, cell in cells if _is_set(cell)}, **dict(state_of(function))}
    own = {name: value for name, value in held.items() if reader.project.leads_home(value)}
    if not own:
        return f"function {public_name(function.__module__, function.__qualname__)}"
    # Its own name and module are those of the function that it wraps.
    name = public_name(function.__globals__.get("__name__"), function.__code__.co_qualname)
    return joined(f"wrapper {name}", reader.texts(own.items()))


def _is_set(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _builtin(reader: Reader, function: Any) -> str:
    owner = function.__self__
    if owner is None or isinstance(owner, ModuleType):
        return f"function {public_name(function.__module__, function.__qualname__)}"
    return joined(f"method {function.__name__}", [("of", reader.text(owner))])


def _method(reader: Reader, method: MethodType) -> str:
    return joined("method", reader.texts([("does", method.__func__), ("of", method.__self__)]))


def _partial(reader: Reader, made: functools.partial[Any]) -> str:
    parts = [("does", made.func), ("args", made.args), ("keywords", made.keywords)]
    return joined("partial", reader.texts(parts))


def _property(reader: Reader, made: property) -> str:
    return joined("property", reader.texts([("get", made.fget), ("set", made.fset), ("delete", made.fdel)]))


def _descriptor(reader: Reader, made: object) -> str:
    return joined(type(made).__name__, [("does", reader.text(wrapped(made)))])


_ROWS: list[tuple[type | tuple[type, ...], Tell]] = [
    (FunctionType, _function),
    ((BuiltinFunctionType, MethodWrapperType), _builtin),
    (MethodType, _method),
    (functools.partial, _partial),
    (property, _property),
    ((staticmethod, classmethod, functools.cached_property), _descriptor),
    # Python's own small functions, by what they would be pickled as.
    (
        (operator.itemgetter, operator.attrgetter, operator.methodcaller),
        lambda r, made: r.text(made.__reduce__()),
    ),
    *VALUES,
]
