"""Which code is the project's own, and which belongs to Python, to an installed package or to asof.

A project's own code counts by what it does; a library's by its name, since its version is pinned elsewhere. Where
a function's code stands decides, and not its `__module__`, which wrappers copy from what they wrap.
"""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, cast

_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARIES = {
    place
    for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), Path(__file__).parents[1])
    for place in (Path(path), Path(path).resolve())
}
_LOOKED_AT = 1_000  # so many items of a container may be functions
_NESTED = 100  # wrappers around one function; a cycle of them ends here


class Project:
    """The project that a function belongs to: everything outside of libraries, and the function's own package, which
    may be an installed one.
    """

    def __init__(self, core: FunctionType | None = None) -> None:
        self._package = "" if core is None else _package(core.__globals__)

    def owns_function(self, function: FunctionType) -> bool:
        """Whether the function's code is the project's."""
        file = function.__code__.co_filename
        if file.startswith("<"):  # a notebook, a doctest, or made at run time by somebody's module
            file = str(function.__globals__.get("__file__") or file)
        return self._is_package(_package(function.__globals__)) or _is_own_file(file)

    def owns_module(self, module: ModuleType) -> bool:
        """Whether the module is a file or folder of the project."""
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        own = any(isinstance(place, str) and _is_own_file(place) for place in places)
        return own or self._is_package(module.__name__.split(".")[0])

    def owns_class(self, kind: type) -> bool:
        """Whether the class is the project's. A project's modules may have left `sys.modules` after it was loaded; a
        class without methods is the project's then, because libraries stay.
        """
        top = kind.__module__.split(".")[0]
        if top == "__main__" or self._is_package(top):
            return True
        for member in vars(kind).values():
            if isinstance(member, FunctionType) and member.__globals__.get("__name__") == kind.__module__:
                return self.owns_function(member)
        module = sys.modules.get(kind.__module__)
        return top not in {*sys.stdlib_module_names, "asof"} if module is None else self.owns_module(module)

    def leads_home(self, thing: object, depth: int = 3) -> bool:
        """Whether a function of the project is behind it: itself, what it wraps, or one of those that it holds."""
        for _ in range(_NESTED):
            if thing is None or (isinstance(thing, FunctionType) and self.owns_function(thing)):
                return thing is not None
            if isinstance(thing, dict | MappingProxyType | list | tuple):
                held = thing.values() if isinstance(thing, dict | MappingProxyType) else thing
                return depth > 0 and any(
                    self.leads_home(each, depth - 1) for each in islice(held, _LOOKED_AT)
                )
            thing = wrapped(thing)
        return False

    def _is_package(self, name: str) -> bool:
        return bool(name) and name == self._package


def wrapped(thing: object) -> object:
    """What a partial, a method, a descriptor or a decorated function was made of; None where nothing is known."""
    if isinstance(thing, functools.partial | functools.cached_property):
        return cast("object", thing.func)
    if isinstance(thing, MethodType | staticmethod | classmethod):
        return cast("object", thing.__func__)
    if isinstance(thing, property):
        return thing.fget
    return None if isinstance(thing, type | ModuleType) else getattr(thing, "__dict__", {}).get("__wrapped__")


def core_function(thing: object) -> FunctionType | None:
    """The innermost function, behind partials, wrappers and callable objects; None where it is none of Python's.

    Example:
        >>> core_function(functools.partial(core_function)) is core_function, core_function(len)
        (True, None)
    """
    project = Project()
    for _ in range(_NESTED):
        inner = wrapped(thing)
        if inner is None and (thing is None or isinstance(thing, FunctionType)):
            return thing
        if inner is None and not isinstance(thing, type | ModuleType):
            if project.owns_class(type(thing)):
                inner = inspect.getattr_static(type(thing), "__call__", None)
            else:
                inner = next((value for _, value in state_of(thing) if project.leads_home(value)), None)
        thing = inner
    return None


def state_of(thing: object) -> Iterator[tuple[str, object]]:
    """The attributes that an object holds by itself, by name; of a dataclass the fields that count."""
    if is_dataclass(thing) and not isinstance(thing, type):
        held = {f.name: getattr(thing, f.name, None) for f in fields(thing)}
        yield from ((f.name, held[f.name]) for f in fields(thing) if f.compare or callable(held[f.name]))
        return
    state: dict[str, object] = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = [name for name, each in vars(kind).items() if inspect.ismemberdescriptor(each)]
        state |= {name: getattr(thing, name) for name in slots if hasattr(thing, name)}
    yield from sorted(state.items())


def _package(module: dict[str, Any]) -> str:
    return str(module.get("__name__") or "").split(".")[0]


@lru_cache(maxsize=4096)
def _is_own_file(file: str) -> bool:
    if file.startswith("<"):
        return not file.startswith("<frozen")
    path = Path(file)
    return not (_INSTALLED & set(path.parts) or any(path.is_relative_to(place) for place in _LIBRARIES))
