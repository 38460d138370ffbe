"""Fingerprints: the identity of what a definition computes.

Two definitions have one fingerprint when they give the same values. Everything that a value depends on counts,
upstream definitions included; what is for people (owner, description, tags: fields with `compare=False`), an
object's own name, and derived columns of a source that a feature never names, do not. A function counts by its
syntax tree and by what it reads (`function_source.py`). A field that has its default value is left out, so that a
new field with a default changes no fingerprint. Stable across processes and Python versions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from asof.define.aggregation import Feature
from asof.define.entity import Entity
from asof.define.feature_view import FeatureRef, FeatureView
from asof.define.function_source import function_source
from asof.define.kinds import kind_of
from asof.define.label import Label
from asof.define.request_feature import RequestFeature
from asof.define.service import FeatureService
from asof.define.source import Events, Pairs, Source, parts_of
from asof.types import DType, Schema

T = TypeVar("T")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def fingerprint(value: object) -> str:
    """The SHA-256 of all that the definition's values depend on, in hex.

    Raises:
        TypeError: something that is no definition.

    Example:
        >>> a = Entity("account", keys={"account_id": "string"}, owner="risk")
        >>> b = Entity("customer", keys={"account_id": "string"}, owner="growth")
        >>> fingerprint(a) == fingerprint(b)
        True
    """
    return Fingerprints().of(value)


class Fingerprints:
    """Fingerprints of many definitions; each is made once, however many others stand on it."""

    def __init__(self) -> None:
        # The definitions are kept, so that an id stays theirs.
        self._made: dict[object, tuple[object, str]] = {}

    def of(self, thing: object) -> str:
        """The fingerprint of a definition; see `fingerprint`."""
        return self._once(id(thing), thing, self._canonical)

    def of_feature(self, ref: FeatureRef) -> str:
        """The fingerprint of one feature of a view; its siblings and its name do not count."""
        return self._once((id(ref.view), ref.feature.name), ref, self._canonical_feature)

    def _once(self, key: object, thing: T, canonical: Callable[[T], object]) -> str:
        known = self._made.get(key)
        if known is None:
            text = json.dumps(canonical(thing), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
            known = self._made[key] = (thing, hashlib.sha256(text.encode()).hexdigest())
        return known[1]

    def _canonical(self, thing: object) -> object:
        if isinstance(thing, FeatureView):
            return ["feature_view", {ref.name: self.of_feature(ref) for ref in thing.refs()}]
        if isinstance(thing, Label):
            texts = [
                *_texts(f for f, _ in thing.features()),
                thing.outcome or "",
                *_keys(thing.entity, thing.keys),
            ]
            return [
                "label",
                {**self._facts(thing, "name", "source"), "source": self._source(thing.source, texts)},
            ]
        if isinstance(thing, FeatureService):
            own = thing.own_row and self._source(thing.own_row, _texts(r.feature for r in thing.refs))
            return ["feature_service", {**self._facts(thing, "name", "own_row"), "own_row": own}]
        if isinstance(thing, Entity):  # the order of its keys is that of a record's key
            return ["Entity", [[name, str(dtype)] for name, dtype in thing.keys]]
        if kind_of(thing) is not None:
            return [type(thing).__name__, self._facts(thing, "name")]
        raise TypeError(f"{type(thing).__name__} is no definition")

    def _canonical_feature(self, ref: FeatureRef) -> object:
        view, feature = ref.view, ref.feature
        facts = self._facts(feature, "name")
        texts = [*_texts([feature]), *_keys(view.entity, view.keys)]
        return ["feature", self.of(view.entity), self._source(view.source, texts), sorted(view.keys), facts]

    def _facts(self, thing: Any, *without: str) -> dict[str, object]:
        """The fields that count and differ from their default."""
        made: dict[str, object] = {}
        for name, default in _counting(type(thing)):
            value = getattr(thing, name)
            if name not in without and value is not default and value != default:
                made[name] = self._plain(value)
        return made

    def _plain(self, value: object) -> object:
        made: object
        if value is None or isinstance(value, bool | int | float | str):
            made = value
        elif isinstance(value, tuple):
            made = self._plain_tuple(cast("tuple[object, ...]", value))
        elif isinstance(value, FeatureRef):
            made = [value.name, self.of_feature(value)]
        elif isinstance(value, DType):
            made = str(value)
        elif isinstance(value, Schema):
            made = sorted([name, str(dtype)] for name, dtype in value)
        elif isinstance(value, RequestFeature):
            made = [value.name, self.of(value)]
        elif kind_of(value) is not None:
            made = self.of(value)
        elif is_dataclass(value) and not isinstance(value, type):
            made = [type(value).__name__, self._facts(value)]
        elif callable(value):
            made = function_source(value).tree
        else:
            raise TypeError(f"{type(value).__name__} is no part of a definition")
        return made

    def _plain_tuple(self, value: tuple[object, ...]) -> list[object]:
        """The items in order; of a mapping, which is kept as pairs, by name, since its order changes no value."""
        made = [self._plain(item) for item in value]
        pairs = [cast("tuple[object, ...]", item) for item in value if isinstance(item, tuple)]
        is_mapping = len(pairs) == len(made) and all(len(p) == 2 and isinstance(p[0], str) for p in pairs)
        return sorted(made, key=lambda pair: cast("list[str]", pair)[0]) if is_mapping else made

    def _source(self, source: Source, texts: Iterable[str]) -> str:
        """The fingerprint of a source as far as these texts can read it."""
        words = {word for text in texts for word in _words(text)}
        used: list[tuple[dict[str, str], dict[str, str]]] = []
        for part in parts_of(source):
            mapped = _used(part.columns, words)
            more = _words(*mapped.values(), *_times_and_keys(part.source))
            used.append((mapped, _used(part.source.columns, words | more)))
        return self._once(
            (id(source), json.dumps(used)), (source, used), lambda _: self._canonical_source(source, used)
        )

    def _canonical_source(self, source: Source, used: list[tuple[dict[str, str], dict[str, str]]]) -> object:
        made: list[object] = []
        for part, (mapped, derived) in zip(parts_of(source), used, strict=True):
            made.append([self._facts(part.source, "name", "columns"), mapped, derived])
        return ["source", made]


@cache
def _counting(cls: type) -> tuple[tuple[str, object], ...]:
    """The fields that count, with their defaults."""
    return tuple(
        (f.name, f.default if f.default is not MISSING else _NEVER) for f in fields(cls) if f.compare
    )


_NEVER = object()


def _texts(features: Iterable[Feature]) -> Iterator[str]:
    """Everything in features that may name a column of the source."""
    for feature in features:
        yield from (text for text in (feature.column, feature.by, feature.predicate) if text)
        yield from _texts(feature.parts)


def _keys(entity: Entity, keys: Pairs) -> list[str]:
    given = dict(keys)
    return [given.get(name, name) for name in entity.keys.names]


def _words(*texts: str) -> set[str]:
    return {word.lower() for text in texts for word in _WORD.findall(text)}


def _times_and_keys(source: Events) -> list[str]:
    parts = (source.event_time, source.known_at, source.key, source.deleted, source.sequence)
    return [text for text in parts if text]


def _used(columns: Pairs, words: set[str]) -> dict[str, str]:
    """The derived columns that the words may mean, and those that these are made of in turn."""
    used: dict[str, str] = {}
    while new := {name: sql for name, sql in columns if name not in used and name.lower() in words}:
        used |= new
        words = words | _words(*new.values())
    return used
