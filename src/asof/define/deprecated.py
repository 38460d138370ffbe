"""Deprecation: a definition that is still there, and that its users should leave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from asof.errors import DefinitionError


class DeprecatedDefinition(FutureWarning):
    """A definition that is used and that is deprecated. A filter of `warnings` for this class makes it an error, or
    silence.
    """


@dataclass(frozen=True)
class Deprecated:
    """From when on a definition should no longer be used, and what to use instead.

    It changes no value. Whoever uses the definition is warned: `asof plan`, `asof show`, and every training set
    that needs it.

    Raises:
        DefinitionError: `on` is no date, or is written in another form than `2027-01-31`.

    Example:
        >>> print(Deprecated("2027-01-31", use="account_activity_v2"))
        deprecated from 2027-01-31: use account_activity_v2
    """

    on: str
    use: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        try:
            same = date.fromisoformat(self.on).isoformat() == self.on
        except (ValueError, TypeError):
            same = False
        if not same:
            raise DefinitionError(f"deprecated: {self.on!r} is not a date", hint="write it as 2027-01-31")

    def __str__(self) -> str:
        words = [f"use {self.use}"] if self.use else []
        words += [self.note] if self.note else []
        return f"deprecated from {self.on}" + (f": {'; '.join(words)}" if words else "")
