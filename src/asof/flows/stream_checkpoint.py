"""Checkpoints: how far the worker of a stream has come, in the online store beside the records that it writes.

What a checkpoint says is done: the events before `next` are in the records of `views` (as far as each is noted) and in
the landed history, and events from there on will be known at `known_us` or later. A run of materialization up to that
instant therefore finds all that it needs in the history. Whoever takes a partition over writes his name first; the
former owner's next checkpoint then fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from asof.define.feature_view import FeatureView
from asof.define.source import parts_of
from asof.define.window import BEGIN_US
from asof.errors import BackendError, DataError
from asof.online.store import OnlineStore

NAMESPACE = "streams"
_FORMAT = 1
_ROUNDS = 50


@dataclass(frozen=True)
class Checkpoint:
    """How far a partition has come; `views` are offsets by namespace, `counts` what was met so far."""

    partition: int
    owner: str
    next: int = 0
    known_us: int = BEGIN_US
    at_us: int = 0
    views: Mapping[str, int] = field(default_factory=dict[str, int])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])

    def to_bytes(self) -> bytes:
        """The record of the checkpoint."""
        return _packed(asdict(self))

    @classmethod
    def parse(cls, data: bytes) -> Checkpoint:
        """The checkpoint that `to_bytes` wrote.

        Example:
            >>> checkpoint = Checkpoint(3, "w1", 7, 100, views={"v1": 7})
            >>> Checkpoint.parse(checkpoint.to_bytes()) == checkpoint
            True
        """
        body = _parsed(data)
        try:
            return cls(**body)
        except TypeError as exc:
            raise DataError("the online store holds something that is no checkpoint of a stream") from exc


@dataclass(frozen=True)
class _Register:
    """What holds for all partitions of a source: which were taken ever, and the least known-at of others' events."""

    known_us: int = BEGIN_US
    partitions: tuple[int, ...] = ()

    def to_bytes(self) -> bytes:
        return _packed(asdict(self))

    @classmethod
    def parse(cls, data: bytes | None) -> _Register:
        if data is None:
            return cls()
        body = _parsed(data)
        return cls(body["known_us"], tuple(body["partitions"]))


class Checkpoints:
    """The checkpoints of one source."""

    def __init__(self, store: OnlineStore, source: str) -> None:
        self._store, self._source = store, source

    def take(self, partition: int, owner: str) -> Checkpoint:
        """Makes the partition the owner's, and gives how far it is."""
        key = self._key(partition)
        for _ in range(_ROUNDS):
            data, known_us = self._get(key), self._registered(partition)
            now = Checkpoint(partition, owner, known_us=known_us) if data is None else Checkpoint.parse(data)
            made = replace(now, owner=owner)
            if self._swap(key, data, made.to_bytes()):
                return made
        raise self._busy()

    def save(self, before: Checkpoint, after: Checkpoint) -> bool:
        """Puts a checkpoint in the place of the one before; False where that is no longer the one."""
        return self._swap(self._key(before.partition), before.to_bytes(), after.to_bytes())

    def find(self, partition: int) -> Checkpoint | None:
        """The checkpoint of a partition, None where nobody has taken it yet."""
        data = self._get(self._key(partition))
        return None if data is None else Checkpoint.parse(data)

    def all(self) -> dict[int, Checkpoint]:
        """The checkpoints of all partitions that were ever taken."""
        partitions = _Register.parse(self._get(self._register)).partitions
        found = self._store.get([(NAMESPACE, [self._key(each) for each in partitions])]) if partitions else []
        return {
            partition: Checkpoint(partition, "") if data is None else Checkpoint.parse(data)
            for partition, data in zip(partitions, found, strict=True)
        }

    def settled(self, until_us: int) -> int:
        """The latest instant, at most `until_us`, before which all that was or will be known is in the landed history.

        Where no worker has come yet, that is promised here: later events will be known from then on.
        """
        for _ in range(_ROUNDS):
            data = self._get(self._register)
            register = _Register.parse(data)
            keys = [self._key(each) for each in register.partitions]
            found = self._store.get([(NAMESPACE, keys)]) if keys else []
            known = [register.known_us if each is None else Checkpoint.parse(each).known_us for each in found]
            least = min([until_us, *known])
            promised = replace(register, known_us=max(register.known_us, least))
            if promised == register or self._swap(self._register, data, promised.to_bytes()):
                return least
        raise self._busy()

    def forget(self, namespace: str) -> None:
        """Forgets how far a view is, so that the next worker applies what its batch part does not hold."""
        for partition in self.all():
            for _ in range(_ROUNDS):
                found = self.find(partition)
                if found is None or namespace not in found.views:
                    break
                views = {name: at for name, at in found.views.items() if name != namespace}
                if self.save(found, replace(found, views=views)):
                    break
            else:
                raise self._busy()

    def note(self, partition: int, body: Mapping[str, object]) -> None:
        """Notes where a worker is right now, for others to look at; nothing depends on it."""
        self._store.write(NAMESPACE, [(self._key(partition, "live"), _packed(dict(body)))])

    def notes(self) -> dict[int, dict[str, Any]]:
        """What workers have noted, partition by partition."""
        partitions = _Register.parse(self._get(self._register)).partitions
        keys = [self._key(each, "live") for each in partitions]
        found = self._store.get([(NAMESPACE, keys)]) if keys else []
        return {p: _parsed(data) for p, data in zip(partitions, found, strict=True) if data is not None}

    def progress(self, namespace: str) -> int | None:
        """Until when all that was known is in the records of a view, as its workers have noted it; None where one has
        noted nothing, or does not follow for this view.
        """
        partitions, notes = _Register.parse(self._get(self._register)).partitions, self.notes()
        mine = [notes.get(each) for each in partitions]
        known = [note["known_us"] for note in mine if note is not None and namespace in note["views"]]
        return min(known) if known and len(known) == len(partitions) else None

    def _registered(self, partition: int) -> int:
        """Notes that the partition has been taken; gives from when on its events may be known."""
        for _ in range(_ROUNDS):
            data = self._get(self._register)
            register = _Register.parse(data)
            if partition in register.partitions:
                return register.known_us
            made = replace(register, partitions=tuple(sorted({*register.partitions, partition})))
            if self._swap(self._register, data, made.to_bytes()):
                return register.known_us
        raise self._busy()

    @property
    def _register(self) -> bytes:
        return f"source:{self._source}".encode()

    def _key(self, partition: int, kind: str = "part") -> bytes:
        return f"{kind}:{self._source}:{partition}".encode()

    def _get(self, key: bytes) -> bytes | None:
        return self._store.get([(NAMESPACE, [key])])[0]

    def _swap(self, key: bytes, expected: bytes | None, made: bytes) -> bool:
        return self._store.swap(NAMESPACE, [(key, expected, made)])[0]

    def _busy(self) -> BackendError:
        return BackendError(
            f"stream of {self._source!r}: its checkpoints change all the time",
            hint="try again",
            retryable=True,
        )


def progress_of(store: OnlineStore, view: FeatureView, namespace: str) -> int:
    """Until when all that was known is in the records of a view by its streams (BEGIN_US: nobody can say)."""
    names = [part.source.name for part in parts_of(view.source) if part.source.stream is not None]
    known = [Checkpoints(store, name).progress(namespace) for name in names]
    return min((BEGIN_US if us is None else us for us in known), default=BEGIN_US)


def _packed(body: dict[str, object]) -> bytes:
    return json.dumps({"format": _FORMAT, **body}, sort_keys=True, separators=(",", ":")).encode()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        body = cast("dict[str, Any]", json.loads(data))
        found = body.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DataError("the online store holds something that is no checkpoint of a stream") from exc
    if found != _FORMAT:
        raise DataError(
            f"a checkpoint has format {found}, and this asof reads {_FORMAT}",
            hint="use the asof that wrote it, or a newer one",
        )
    return body
