"""Specs: definitions as plain data, the form in which they are stored, compared and shown.

A spec is (kind, name, fingerprint, body). The body is canonical JSON: the definition's fields that differ from
their default, with other definitions as references (`{"ref": "source:transactions"}`). No code is kept but as text
to show, and nothing of a body is ever run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, cached_property
from typing import Any, cast, get_args

from asof.define.feature_view import FeatureRef
from asof.define.fingerprint import Fingerprints
from asof.define.function_source import function_source
from asof.define.kinds import KINDS, Definition, kind_of, spoken
from asof.define.source import InMemory, Location
from asof.define.stream import Stream
from asof.errors import DefinitionError, StateError
from asof.types import DType, Schema

FORMAT = 1
CODE = "code"  # the text of a function: shown, but only its hash counts, since its layout differs between Pythons
_REFERENCE = re.compile(r"[a-z][a-z0-9_]*:[A-Za-z_][A-Za-z0-9_]*")
_TYPED = {*get_args(Location), *get_args(Stream)}  # one field holds one of several records
_SEVERAL = {cls for types in KINDS.values() if len(types) > 1 for cls in types}


@dataclass(frozen=True)
class Spec:
    """One definition as data. `fingerprint` says what its values are, `digest` all that was written."""

    kind: str
    name: str
    fingerprint: str
    text: str

    @property
    def key(self) -> str:
        """`kind:name`, as references write it."""
        return f"{self.kind}:{self.name}"

    @property
    def words(self) -> str:
        """The object in words: `feature view 'activity'`."""
        return f"{spoken(self.kind)} {self.name!r}"

    @cached_property
    def body(self) -> dict[str, Any]:
        """The body, parsed.

        Raises:
            StateError: a registry has given one that is no JSON object.
        """
        try:
            body = json.loads(self.text)
        except (ValueError, RecursionError) as exc:
            raise StateError(f"{self.words} is damaged: its body is no JSON", object=self.key) from exc
        if not isinstance(body, dict):
            raise StateError(f"{self.words} is damaged: its body is no JSON object", object=self.key)
        return cast("dict[str, Any]", body)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of kind, name, fingerprint and body: equal digests are one object."""
        return digest_of(self.kind, self.name, self.fingerprint, self.text)

    @cached_property
    def identity(self) -> str:
        """The digest without the text of functions, whose layout differs between Pythons: equal means the same."""
        if f'"{CODE}":' not in self.text:
            return self.digest
        text = json.dumps(_without_code(self.body), sort_keys=True)
        return digest_of(self.kind, self.name, self.fingerprint, text)

    @cached_property
    def refs(self) -> tuple[str, ...]:
        """The keys of the objects that it stands on directly, each once."""
        return tuple(dict.fromkeys(_refs(self.body)))

    def about(self, field: str) -> Any:
        """One field of the body, or None where it has its default."""
        return self.body.get(field)


def digest_of(kind: str, name: str, fingerprint: str, text: str) -> str:
    """The digest of a spec; see `Spec.digest`."""
    return hashlib.sha256(f"{kind}\0{name}\0{fingerprint}\0{text}".encode()).hexdigest()


def specs_of(definitions: Iterable[Definition]) -> dict[str, Spec]:
    """The specs of definitions by key, in the order of the kinds and then by name.

    Raises:
        DefinitionError: a function without source, whose identity would differ between Python versions.
    """
    prints = Fingerprints()
    return in_order(_spec(thing, prints) for thing in definitions)


def in_order(specs: Iterable[Spec]) -> dict[str, Spec]:
    """Specs by key, in the order of the kinds and then by name; kinds that this asof does not know come last."""
    place = {kind: number for number, kind in enumerate(KINDS)}
    ordered = sorted(specs, key=lambda spec: (place.get(spec.kind, len(place)), spec.kind, spec.name))
    return {spec.key: spec for spec in ordered}


def _spec(thing: Definition, prints: Fingerprints) -> Spec:
    kind, name = kind_of(thing) or "", str(thing.name)
    body: dict[str, object] = {"format": FORMAT, **_fields(f"{spoken(kind)} {name!r}", thing)}
    del body["name"]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Spec(kind, name, prints.of(thing), text)


def _fields(where: str, thing: Any) -> dict[str, object]:
    cls = type(thing)
    made: dict[str, object] = {"type": cls.__name__} if cls in _SEVERAL or cls in _TYPED else {}
    for name, default in _defaults(cls):
        value = getattr(thing, name)
        if cls is InMemory and name == "table":  # data: no part of a definition, nor comparable
            continue
        if value is not default and value != default:
            made[name] = _plain(where, value)
    return made


@cache
def _defaults(cls: type) -> tuple[tuple[str, object], ...]:
    return tuple((f.name, _NEVER if f.default is MISSING else f.default) for f in fields(cls))


_NEVER = object()


def _plain(where: str, value: object) -> object:
    made: object
    if value is None or isinstance(value, bool | int | float | str):
        made = value
    elif isinstance(value, FeatureRef):
        renamed = {"name": value.name} if value.name != value.feature.name else {}
        made = {"ref": f"feature_view:{value.view.name}", "feature": value.feature.name, **renamed}
    elif kind := kind_of(value):
        made = {"ref": f"{kind}:{cast('Definition', value).name}"}
    elif isinstance(value, DType):
        made = str(value)
    elif isinstance(value, Schema):
        made = [{"name": name, "type": str(dtype)} for name, dtype in value]
    elif isinstance(value, tuple):
        made = _plain_tuple(where, cast("tuple[object, ...]", value))
    elif is_dataclass(value) and not isinstance(value, type):
        made = _fields(where, value)
    else:
        made = _plain_function(where, value)
    return made


def _plain_tuple(where: str, value: tuple[object, ...]) -> object:
    pairs = [cast("tuple[str, object]", item) for item in value if isinstance(item, tuple)]
    if pairs and all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):  # pyright: ignore[reportUnnecessaryIsInstance]
        return {name: _plain(where, item) for name, item in pairs}
    return [_plain(where, item) for item in value]


def _plain_function(where: str, value: Any) -> object:
    source = function_source(value)
    if not source.stable:
        raise DefinitionError(
            f"{where}: the function {getattr(value, '__name__', '?')!r} has no source that can be read",
            hint="define it in a file of the project, and load the project again when the file has changed since",
        )
    return {"sha256": hashlib.sha256(source.tree.encode()).hexdigest(), CODE: source.code}


def is_reference(value: object) -> bool:
    """True for what refers to another object.

    Example:
        >>> is_reference({"ref": "source:transactions"})
        True
        >>> is_reference({"ref": "upper(reference)"})  # SQL of a column that a user calls `ref`
        False
    """
    ref = cast("Mapping[str, object]", value).get("ref") if isinstance(value, Mapping) else None
    return isinstance(ref, str) and _REFERENCE.fullmatch(ref) is not None


def _without_code(value: object) -> object:
    if isinstance(value, Mapping):
        node = cast("Mapping[str, object]", value)
        return {k: _without_code(v) for k, v in node.items() if k != CODE or "sha256" not in node}
    if isinstance(value, list):
        return [_without_code(item) for item in cast("list[object]", value)]
    return value


def _refs(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        node = cast("Mapping[str, object]", value)
        if is_reference(node):
            yield cast("str", node["ref"])
        for item in node.values():
            yield from _refs(item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _refs(item)
