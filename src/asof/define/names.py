"""Names: what they may be, and how definitions complain about one.

Every user-facing name (entity, source, view, feature, service, column) passes `check_name`, so an error
always names the object, the field, what was seen and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

from asof.errors import DefinitionError, UnknownName, did_you_mean

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MAX = 128


def check_name(kind: str, name: object) -> str:
    """The name itself when it is an identifier of at most 128 characters.

    Raises:
        DefinitionError: anything else; the message names the kind and what was seen.

    Example:
        >>> check_name("entity", "account")
        'account'
    """
    if not isinstance(name, str) or len(name) > _MAX or not _NAME.match(name):
        raise DefinitionError(
            f"{kind} name {name!r} is not a name",
            hint="use letters, digits and underscores, not starting with a digit, at most 128 characters",
            kind=kind,
        )
    return name


def check_people(where: str, owner: object, description: object, tags: object) -> None:
    """Nothing, when what is for people has its form.

    Raises:
        DefinitionError: an owner or a description that is no text, or tags that are no list of texts.
    """
    for field, value in (("owner", owner), ("description", description)):
        if not isinstance(value, str):
            raise DefinitionError(f"{where}: {field} is {type(value).__name__}, not a text")
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in cast("Iterable[object]", tags)):
        raise DefinitionError(f"{where}: tags are no list of texts", hint='tags=["payments"]')


def check_choice(where: str, field: str, value: object, allowed: Iterable[str]) -> str:
    """The value when it is one of the allowed words.

    Raises:
        UnknownName: it is not; the hint lists the nearest word, or all of them.
    """
    words = tuple(allowed)
    if value not in words:
        hint = did_you_mean(str(value), words)
        raise UnknownName(
            f"{where}: {field}={value!r} is not one of {', '.join(words)}", hint=hint, field=field
        )
    return str(value)


def check_unique(where: str, what: str, names: Iterable[str], hint: str | None = None) -> None:
    """Nothing, when no name stands twice.

    Raises:
        DefinitionError: a name stands twice; it is named.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DefinitionError(f"{where}: two {what} are named {name!r}", hint=hint, name=name)
        seen.add(name)
