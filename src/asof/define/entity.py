"""Entities: the things that features describe, and the id columns that name one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asof.define.deprecated import Deprecated
from asof.define.names import check_name, check_people
from asof.define.place import Placed
from asof.errors import DefinitionError
from asof.types import DType, Schema

_KEY_KINDS = ("string", "int32", "int64", "date", "bool")


@dataclass(frozen=True, init=False)
class Entity(Placed):
    """A thing that features describe, with its id columns in order (one, or several for a composite key).

    Raises:
        DefinitionError: no key, or a key of a type that cannot identify (floats, decimals, times, lists).

    Example:
        >>> Entity("account", keys={"account_id": "string"}).keys.names
        ('account_id',)
    """

    name: str
    keys: Schema
    description: str = field(default="", compare=False)
    owner: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def __init__(
        self,
        name: str,
        keys: Mapping[str, str | DType],
        *,
        description: str = "",
        owner: str = "",
        tags: Sequence[str] = (),
        deprecated: Deprecated | None = None,
    ) -> None:
        check_name("entity", name)
        check_people(f"entity {name!r}", owner, description, tags)
        if not keys:
            raise DefinitionError(f"entity {name!r}: no keys", hint='keys={"account_id": "string"}')
        for key in keys:
            check_name(f"entity {name!r}: key", key)
        schema = Schema.of(keys)
        for key, dtype in schema:
            if dtype.kind not in _KEY_KINDS:
                raise DefinitionError(
                    f"entity {name!r}: key {key!r} has type {dtype}, which cannot identify a thing",
                    hint=f"allowed: {', '.join(_KEY_KINDS)}",
                )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "keys", schema)
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "owner", owner)
        object.__setattr__(self, "tags", tuple(tags))
        object.__setattr__(self, "deprecated", deprecated)
