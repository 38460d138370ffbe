"""What differs between two sets of objects: added, changed field by field, metadata only, removed, renamed.

`changed` means that values can change (another fingerprint), `metadata` that only what is for people differs. An
object whose own fields are as they were, but that stands on one that changed, is changed `because` of that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, cast

from asof.define.spec import Spec
from asof.registry.fields import FieldChange, field_changes

Action = Literal["added", "changed", "metadata", "renamed", "removed"]
ACTIONS: tuple[Action, ...] = ("added", "changed", "metadata", "renamed", "removed")


@dataclass(frozen=True)
class ObjectChange:
    """What becomes of one object; `old` is None where it is added, `new` where it is removed."""

    action: Action
    old: Spec | None
    new: Spec | None
    fields: tuple[FieldChange, ...] = ()
    because: tuple[str, ...] = ()

    @property
    def spec(self) -> Spec:
        """The new object, or the old one where it is removed."""
        return cast("Spec", self.new or self.old)

    @property
    def key(self) -> str:
        """The key of `spec`."""
        return self.spec.key


def diff(old: Mapping[str, Spec], new: Mapping[str, Spec]) -> list[ObjectChange]:
    """The changes that turn one set of objects into another, in the order of the new objects, removals last.

    Ties: where several removed objects could have become an added one, the one with the likest name has.
    """
    renames = _renames(old, new)
    before = {**old, **{key: old[was] for key, was in renames.items()}}
    moved = set(renames.values())
    changed = {
        key for key, spec in new.items() if key in before and spec.fingerprint != before[key].fingerprint
    }
    changes = [each for key, spec in new.items() if (each := _change(before.get(key), spec, changed))]
    gone = [key for key in old if key not in new and key not in moved]
    return changes + [ObjectChange("removed", old[key], None) for key in gone]


def _change(was: Spec | None, spec: Spec, changed: set[str]) -> ObjectChange | None:
    if was is None:
        return ObjectChange("added", None, spec)
    differing = field_changes(was, spec) if was.text != spec.text else ()
    if was.name != spec.name:
        return ObjectChange("renamed", was, spec, differing)
    if was.fingerprint != spec.fingerprint:
        return ObjectChange("changed", was, spec, differing, tuple(r for r in spec.refs if r in changed))
    return ObjectChange("metadata", was, spec, differing) if differing else None


def _renames(old: Mapping[str, Spec], new: Mapping[str, Spec]) -> dict[str, str]:
    """New key -> old key, for objects that are gone under one name and there under another with the same values."""
    gone: dict[tuple[str, str], list[Spec]] = {}
    for key, spec in old.items():
        if key not in new:
            gone.setdefault((spec.kind, spec.fingerprint), []).append(spec)
    found: dict[str, str] = {}
    for key, spec in new.items():
        choices = gone.get((spec.kind, spec.fingerprint), []) if key not in old else []
        if choices:
            best = max(choices, key=lambda each: SequenceMatcher(None, each.name, spec.name).ratio())
            choices.remove(best)
            found[key] = best.key
    return found
