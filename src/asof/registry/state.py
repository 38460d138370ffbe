"""What an environment holds at a revision, in memory; and the records that the registry takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from asof.define.kinds import spoken
from asof.define.spec import Spec
from asof.define.window import BEGIN_US
from asof.errors import StateError, UnknownName, did_you_mean

PROTECTED = "prod"


@dataclass(frozen=True)
class State:
    """The objects that an environment points at, by key (`kind:name`); one revision of it, unchanging.

    `corrupted` names objects whose stored body is not what was written; they are in no other field.
    """

    environment: str
    revision: int
    specs: Mapping[str, Spec]
    versions: Mapping[str, int] = field(default_factory=dict[str, int])
    corrupted: Mapping[str, str] = field(default_factory=dict[str, str])

    def get(self, kind: str, name: str) -> Spec:
        """The object of a name.

        Raises:
            UnknownName: there is none; the hint names the nearest. StateError: its body is damaged.
        """
        key = f"{kind}:{name}"
        if key in self.corrupted:
            raise StateError(
                f"registry: {spoken(kind)} {name!r} is damaged: {self.corrupted[key]}", object=key
            )
        if key not in self.specs:
            names = [spec.name for spec in self.specs.values() if spec.kind == kind]
            hint = did_you_mean(name, names) or f"environment {self.environment!r} has no {spoken(kind)}"
            raise UnknownName(f"no {spoken(kind)} {name!r}", hint=hint, name=name, kind=kind)
        return self.specs[key]

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        """The fingerprints of all its objects."""
        return frozenset(spec.fingerprint for spec in self.specs.values())


@dataclass(frozen=True)
class Change:
    """What one revision does to one environment: objects put and keys removed, by whom and why.

    `expected` is the environment's revision that the change was planned on, None if it was not there. `base` and
    `base_expected` say the same of the environment that it comes from; a new one starts with what that points at.
    """

    environment: str
    action: str
    expected: int | None
    puts: tuple[Spec, ...] = ()
    removes: tuple[str, ...] = ()
    who: str = ""
    commit: str | None = None
    plan: str | None = None
    message: str = ""
    summary: Mapping[str, object] = field(default_factory=dict[str, object])
    base: str | None = None
    base_expected: int | None = None
    undoes: int | None = None


@dataclass(frozen=True)
class Revision:
    """One line of the history."""

    number: int
    environment: str
    action: str
    who: str
    commit: str | None
    plan: str | None
    message: str
    summary: Mapping[str, object]
    undoes: int | None
    at_us: int


@dataclass(frozen=True)
class Environment:
    """A named set of pointers. `base` is the environment that it was made from, at `base_revision`."""

    name: str
    revision: int
    base: str | None
    base_revision: int | None
    created_us: int
    updated_us: int

    @property
    def protected(self) -> bool:
        """True for production: it only points at what is materialized, and is never removed."""
        return self.name == PROTECTED


@dataclass(frozen=True)
class Materialized:
    """An interval `[from_us, until_us)` of one version that an online store holds, under a namespace."""

    fingerprint: str
    from_us: int
    until_us: int
    namespace: str
    rows: int = 0
    size_bytes: int = 0


def covers(intervals: Iterable[Materialized], reach_us: int | None, *, now_us: int | None = None) -> bool:
    """True when the intervals, taken together, reach back without a gap from the newest end by `reach_us`, and that
    end lies within the reach of a window that is asked at `now_us`.

    None asks for everything: an interval that begins at `BEGIN_US` was filled from the source's first row on.

    Example:
        >>> day, two = Materialized("f", 0, 10, "v"), Materialized("f", 10, 20, "v")
        >>> covers([day, two], 15), covers([two], 15), covers([day, two], None)
        (True, False, False)
    """
    backwards = sorted(intervals, key=lambda each: (each.until_us, each.from_us), reverse=True)
    if not backwards:
        return False
    end_us = from_us = backwards[0].until_us
    if reach_us is not None and now_us is not None and end_us + reach_us <= now_us:
        return False
    for each in backwards:
        if each.until_us >= from_us:
            from_us = min(from_us, each.from_us)
    return from_us <= BEGIN_US or (reach_us is not None and end_us - from_us >= reach_us)


def namespace_of(fingerprint: str) -> str:
    """Where the records of one version lie: versions never share records, environments and names share versions.

    Example:
        >>> namespace_of("0123456789abcdef" * 4)
        'v0123456789abcdef01234567'
    """
    return f"v{fingerprint[:24]}"
