"""Names of nodes: what a person means by `activity.count_1d`, and how a node is told to them."""

from __future__ import annotations

from asof.define.kinds import KINDS, spoken
from asof.errors import DefinitionError, UnknownName, did_you_mean, nearest
from asof.flows.lineage import Lineage, name_of
from asof.registry.lineage import object_of, part_of

_PARTS = {"source": "column", "feature_view": "feature", "feature_service": "service column"}


def find_node(lineage: Lineage, text: str) -> str:
    """The node that a text means: `name`, `kind:name`, `view.feature`, `source.column`, `service.column`.

    Raises:
        UnknownName: there is none; the hint names the nearest. DefinitionError: there are several; they are listed.
            StateError: the object is damaged.
    """
    head, dot, part = text.partition(".")
    written, _, name = head.rpartition(":")
    kind = find_kind(written) if written else None
    state = lineage.state
    keys = [*state.specs, *state.corrupted]
    found = [key for key in keys if key.partition(":")[2] == name and kind in {None, key.partition(":")[0]}]
    if not found:
        raise _unknown(lineage, text, name, kind)
    nodes = [node for key in found if (node := _part(lineage, key, part))] if dot else found
    if not nodes:
        raise _unknown_part(lineage, found, part)
    if len(nodes) > 1:
        kinds = " and of a ".join(spoken(node.partition(":")[0]) for node in nodes)
        raise DefinitionError(
            f"{text!r} is the name of a {kinds}", hint=f"say {' or '.join(nodes)}", choices=nodes
        )
    return _undamaged(lineage, nodes[0])


def _undamaged(lineage: Lineage, node: str) -> str:
    kind, _, name = object_of(node).partition(":")
    lineage.state.get(kind, name)
    return node


def _part(lineage: Lineage, key: str, part: str) -> str | None:
    parts = lineage.parts.get(key, {})
    if part in parts or not key.startswith("source:"):
        return parts.get(part)
    node = lineage.source_column(key, part)
    return node if node in lineage.columns.up else None


def _unknown(lineage: Lineage, text: str, name: str, kind: str | None) -> UnknownName:
    keys = [key for key in lineage.state.specs if kind in {None, key.partition(":")[0]}]
    names = [key.partition(":")[2] for key in keys]
    owners = [shown(node) for parts in lineage.parts.values() if (node := parts.get(text))]
    if nearest(name, names) is None and owners and kind is None:
        hint = f"say {' or '.join(owners[:4])}"
    else:
        hint = did_you_mean(name, names)
    where = name_of(lineage.state)
    missing = spoken(kind) if kind else "object"
    return UnknownName(
        f"no {missing} {name!r} in {where}", hint=hint or f"{where} has no {missing}", name=name
    )


def _unknown_part(lineage: Lineage, keys: list[str], part: str) -> UnknownName:
    kind, _, name = keys[0].partition(":")
    names = [each for key in keys for each in lineage.parts.get(key, {})]
    words = f"{spoken(kind)} {name!r}"
    said = f"{words} has no {part!r}"
    if kind == "source":  # it may have the column; nobody says so
        said = f"no definition reads or names a column {part!r} of {words}"
    return UnknownName(said, hint=did_you_mean(part, names) or "it has no parts", name=part)


def find_kind(text: str) -> str:
    """The kind that a text means: `feature_view`, and `view`, `views` or `feature-views` too.

    Raises:
        UnknownName: there is no such kind.

    Example:
        >>> find_kind("views"), find_kind("entities"), find_kind("label")
        ('feature_view', 'entity', 'label')
    """
    word = text.lower().replace("-", "_").replace(" ", "_")
    for one in (word, word.removesuffix("s"), word.removesuffix("ies") + "y"):
        for kind in KINDS:
            if one == kind or (one and kind.endswith(f"_{one}") and one != "feature"):
                return kind
    raise UnknownName(f"no kind {text!r}", hint=did_you_mean(word, KINDS), kind=text)


def shown(node: str) -> str:
    """A node as people write it: `activity.count_1d`, without the kind.

    Example:
        >>> shown("feature_view:activity.count_1d")
        'activity.count_1d'
    """
    return node.partition(":")[2]


def words_of(node: str) -> str:
    """A node in words.

    Example:
        >>> words_of("feature_view:activity"), words_of("feature_view:activity.count_1d")
        ('feature view activity', 'feature activity.count_1d')
    """
    kind = node.partition(":")[0]
    return f"{_PARTS.get(kind, spoken(kind)) if part_of(node) else spoken(kind)} {shown(node)}"
