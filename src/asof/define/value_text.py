"""Values as text: containers, classes and objects, down to constants and functions.

A `Reader` goes through all that one value leads to. Functions, classes and objects get a number when they are first
met and are told later, one by one, so that cycles end and nothing is told twice. Which function tells a value is
decided by its class: the rows of `VALUES`, and those for functions in `function_source.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

from asof.define.constant_text import constant_text, is_array, public_name, shortened, type_name
from asof.define.project_code import Project, core_function, state_of

_DEEP = 50  # containers within containers; what lies deeper is told later, so that recursion ends
Tell = Callable[["Reader", Any], str]


class Reader:
    """Goes through all that one value leads to, and makes text of it."""

    def __init__(
        self, project: Project, rows: Sequence[tuple[type | tuple[type, ...], Tell]], *, shallow: bool = False
    ) -> None:
        self.project = project
        self.shallow = (
            shallow  # functions and classes without what they lead to: enough to put things in order
        )
        self.stable = True
        self._rows = rows
        self._numbers: dict[int, int] = {}
        self._later: list[tuple[object, Callable[[], str]]] = []
        self._open: list[int] = []

    def everything(self, value: object) -> str:
        """The text of a value, and line by line of all that it leads to, in the order in which it was met."""
        lines = [self.text(value)]
        # The list grows while it is gone through.
        lines += [f"#{number}={tell()}" for number, (_, tell) in enumerate(self._later)]
        return "\n".join(lines)

    def text(self, value: object) -> str:
        """The text of a value, with numbers for the functions, classes and objects in it."""
        constant = constant_text(value)
        if constant is not None:
            return constant
        # By its type, because a proxy says that it is of the class of what it stands for.
        return next(tell(self, value) for kinds, tell in self._rows if issubclass(type(value), kinds))

    def once(self, value: object, tell: Callable[[], str]) -> str:
        """The number of a value that is told later."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._later)
            self._later.append((value, tell))  # keeps the value, so that its id stays its own
        return f"#{self._numbers[id(value)]}"

    def ordered(self, values: Iterable[object]) -> list[Any]:
        """The values in an order that follows from nothing but what they are."""
        return sorted(
            values, key=lambda value: Reader(self.project, self._rows, shallow=True).everything(value)
        )

    def container(self, value: Iterable[object], tell: Callable[[], Iterator[str]]) -> str:
        """The text of a container by those of its items; within itself it stands as the way back to it."""
        if id(value) in self._open:
            return f"^{len(self._open) - self._open.index(id(value))}"
        if len(self._open) > _DEEP:
            return self.once(value, lambda: self.container(value, tell))
        kind = type(value)
        name = kind.__name__ if kind.__module__ == "builtins" else self.text(kind)
        self._open.append(id(value))
        try:
            return shortened(f"{name}[{','.join(tell())}]")
        finally:
            self._open.pop()

    def texts(self, parts: Iterable[tuple[str, object]]) -> Iterator[tuple[str, str]]:
        """The parts with their texts."""
        return ((name, self.text(value)) for name, value in parts)


def joined(name: str, parts: Iterable[tuple[str, str]]) -> str:
    """A thing of several parts.

    Example:
        >>> joined("partial", [("does", "#1"), ("args", "tuple[2]")])
        'partial(does=#1,args=tuple[2])'
    """
    return f"{name}({','.join(f'{key}={text}' for key, text in parts)})"


def qualified(thing: object) -> str:
    """The name that a thing of a library carries, else the name of its class."""
    kind = type_name(type(thing))
    name = (
        getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) if callable(thing) else None
    )
    return (
        f"{kind} {public_name(getattr(thing, '__module__', None), name)}" if isinstance(name, str) else kind
    )


def _items(reader: Reader, value: Iterable[object]) -> str:
    return reader.container(value, lambda: (reader.text(item) for item in value))


def _set(reader: Reader, value: Iterable[object]) -> str:
    return reader.container(value, lambda: (reader.text(item) for item in reader.ordered(value)))


def _mapping(reader: Reader, value: Mapping[object, object]) -> str:
    def told() -> Iterator[str]:
        # In order: a table of rules whose first match wins is another table when its rows change places.
        return (f"{reader.text(key)}:{reader.text(value[key])}" for key in value)

    return reader.container(value, told)


def _class(reader: Reader, kind: type) -> str:
    if not reader.project.owns_class(kind):
        return f"class {type_name(kind)}"
    if reader.shallow:
        return f"class {kind.__name__}"
    return reader.once(kind, lambda: _own_class(reader, kind))


def _own_class(reader: Reader, kind: type) -> str:
    bases = [("base", reader.text(base)) for base in kind.__bases__ if base is not object]
    return joined(f"class {kind.__name__}", [*bases, *_members(reader, kind)])


def _members(reader: Reader, kind: type) -> Iterator[tuple[str, str]]:
    """A class by what is in it, which is more than its source: what its methods read counts too."""
    if is_dataclass(kind):
        for field in fields(kind):
            told = [("default", field.default), ("factory", field.default_factory)]
            yield f"field {field.name}", joined("field", reader.texts(told))
    if issubclass(kind, Enum):
        for name, member in kind.__members__.items():
            yield f"member {name}", reader.text(member.value)
    for name, member in sorted(vars(kind).items()):
        if reader.project.leads_home(member):
            if not _follows_from_fields(kind, member):
                yield name, reader.text(member)
        elif not (name.startswith("__") or issubclass(kind, Enum)):
            yield name, reader.text(member)


def _follows_from_fields(kind: type, member: object) -> bool:
    """Whether it is a method that `dataclass` or `NamedTuple` has written."""
    core = core_function(member)
    written = core is not None and core.__code__.co_filename == "<string>"
    return written and (is_dataclass(kind) or issubclass(kind, tuple))


def _enum_member(reader: Reader, member: Enum) -> str:
    return joined(f"{reader.text(type(member))}.{member.name}", [("value", reader.text(member.value))])


def _scalar(reader: Reader, value: Any) -> str:
    """A number or text of a subclass: its class and the plain value."""
    plain = next(plain for base, plain in _PLAIN.items() if isinstance(value, base))
    return joined(reader.text(type(value)), [("value", reader.text(plain(value)))])


def _object(reader: Reader, value: Any) -> str:
    if is_array(value):
        parts = [("fields", getattr(value.dtype, "names", None)), ("items", value.tolist())]
        return reader.once(
            value, lambda: joined(f"array {value.dtype.str} {value.shape}", reader.texts(parts))
        )
    kind = type(value)
    if reader.project.owns_class(kind):
        return reader.once(
            value, lambda: joined(f"object {reader.text(kind)}", reader.texts(state_of(value)))
        )
    # A library's object counts by the functions of the project that it holds; its own state may be caches.
    own = [(name, each) for name, each in state_of(value) if reader.project.leads_home(each)]
    if own or is_dataclass(value):
        parts = own or state_of(value)
        return reader.once(value, lambda: joined(f"object {type_name(kind)}", reader.texts(parts)))
    return qualified(value)


_PLAIN: dict[type, Callable[[Any], object]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: bytes.__bytes__,
}

# The first row that fits tells a value.
VALUES: list[tuple[type | tuple[type, ...], Tell]] = [
    (Enum, _enum_member),
    (tuple(_PLAIN), _scalar),
    ((list, tuple, deque), _items),
    ((set, frozenset), _set),
    ((dict, MappingProxyType), _mapping),
    (SimpleNamespace, lambda reader, value: _mapping(reader, vars(value))),
    (ModuleType, lambda _, module: f"module {module.__name__}"),
    (type, _class),
    (object, _object),
]
