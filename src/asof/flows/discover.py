"""Finding objects of a state: all of them in order, or those that a text is found in, the nearest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from asof.define.deprecated import Deprecated
from asof.define.kinds import KINDS
from asof.define.spec import Spec
from asof.flows.lineage import Lineage
from asof.registry.state import State

# How near a match is: the place in this list. Names count before what is said about them.
_EXACT, _PART_EXACT, _PREFIX, _PART_PREFIX, _INSIDE, _PART_INSIDE, _ABOUT, _TEXT = range(8)
_PART_WORDS = {"source": "column", "feature_view": "feature", "feature_service": "column"}


@dataclass(frozen=True)
class Listed:
    """One object: who owns it, its version (None in the code), how many features or columns it has."""

    kind: str
    name: str
    version: int | None
    owner: str
    tags: tuple[str, ...]
    features: int | None
    deprecated: str | None
    description: str
    damaged: str | None = None


def list_objects(state: State, kind: str | None = None) -> list[Listed]:
    """The objects of a state in the order of the kinds and by name, those with a damaged body too."""
    made = [_listed(state, spec) for spec in state.specs.values() if kind in {None, spec.kind}]
    for key, why in state.corrupted.items():
        of, _, name = key.partition(":")
        if kind in {None, of}:
            made.append(Listed(of, name, None, "", (), None, None, "", why))
    order = {kind: place for place, kind in enumerate(KINDS)}  # kinds of a newer asof come last
    return sorted(made, key=lambda each: (order.get(each.kind, len(order)), each.kind, each.name))


def _listed(state: State, spec: Spec) -> Listed:
    features = cast("list[Any] | None", spec.about("features"))
    deprecated = spec.about("deprecated")
    return Listed(
        spec.kind, spec.name, state.versions.get(spec.key), owner_of(spec), tags_of(spec),
        None if features is None else len(features),
        None if deprecated is None else str(Deprecated(**deprecated)), spec.about("description") or "",
    )  # fmt: skip


def owner_of(spec: Spec) -> str:
    """The owner of an object; empty where it has none."""
    return str(spec.about("owner") or "")


def tags_of(spec: Spec) -> tuple[str, ...]:
    """The tags of an object."""
    return tuple(cast("list[str]", spec.about("tags") or []))


@dataclass(frozen=True)
class Match:
    """Where a text was found: `name`, `feature`, `column`, `tag`, `owner` or `description`, and what stands there."""

    where: str
    text: str


@dataclass(frozen=True)
class Hit:
    """An object that a text was found in; its matches are the nearest first."""

    listed: Listed
    matches: tuple[Match, ...]


def search(
    lineage: Lineage,
    text: str,
    *,
    kind: str | None = None,
    owner: str | None = None,
    tag: str | None = None,
) -> list[Hit]:
    """The objects that a text is found in: in the name, in names of features and columns, in tags, the owner or the
    description, in any case. Of several words all have to be found at one place.

    Ties: the order of a list. An empty text finds everything that has the owner and the tag.
    """
    words = text.lower().split()
    found: list[tuple[int, Hit]] = []
    for listed in list_objects(lineage.state, kind):
        spec = lineage.state.specs.get(f"{listed.kind}:{listed.name}")
        if spec is None or (owner and listed.owner.lower() != owner.lower()):
            continue
        if tag and tag.lower() not in {each.lower() for each in listed.tags}:
            continue
        ranked = sorted(_matches(lineage, spec, words), key=lambda each: each[0])
        if ranked:
            found.append((ranked[0][0], Hit(listed, tuple(match for _, match in ranked))))
    return [hit for _, hit in sorted(found, key=lambda each: each[0])]


def _matches(lineage: Lineage, spec: Spec, words: list[str]) -> Iterator[tuple[int, Match]]:
    rank = _near(spec.name, words)
    if rank is not None:
        yield (_EXACT, _PREFIX, _INSIDE)[rank], Match("name", spec.name)
    for where, name in _parts(lineage, spec):
        rank = _near(name, words)
        if rank is not None and words:
            yield (_PART_EXACT, _PART_PREFIX, _PART_INSIDE)[rank], Match(where, name)
    about = [*(("tag", each) for each in tags_of(spec)), ("owner", owner_of(spec))]
    for where, said in about:
        if words and said and _holds(said, words):
            yield _ABOUT, Match(where, said)
    for where, said in _descriptions(spec):
        if words and _holds(said, words):
            yield _TEXT, Match(where, _cut(said, words[0]))


def _parts(lineage: Lineage, spec: Spec) -> Iterable[tuple[str, str]]:
    word = _PART_WORDS.get(spec.kind, "column")
    names = list(lineage.parts.get(spec.key, {}))
    names += [item["name"] for field in ("request", "keys") for item in _named(spec.about(field))]
    return [(word, name) for name in names]


def _named(value: object) -> list[dict[str, str]]:
    return cast("list[dict[str, str]]", value) if isinstance(value, list) else []


def _descriptions(spec: Spec) -> Iterator[tuple[str, str]]:
    yield "description", str(spec.about("description") or "")
    for feature in spec.body["features"] if spec.kind == "feature_view" else ():
        if feature.get("description"):
            yield f"description of {feature['name']}", feature["description"]


def _near(name: str, words: list[str]) -> int | None:
    """0 for the name itself, 1 for its beginning, 2 for somewhere in it, None for nowhere."""
    low, joined = name.lower(), "_".join(words)
    if low == joined:
        return 0
    if low.startswith(joined):
        return 1
    return 2 if _holds(low, words) else None


def _holds(text: str, words: list[str]) -> bool:
    return all(word in text.lower() for word in words)


def _cut(text: str, word: str, size: int = 60) -> str:
    """The part of a text around a word, in one line."""
    line = " ".join(text.split())
    at = line.lower().find(word)
    begin = max(0, min(at - size // 3, len(line) - size))
    shown = line[begin : begin + size]
    return f"{'...' if begin else ''}{shown}{'...' if begin + size < len(line) else ''}"
