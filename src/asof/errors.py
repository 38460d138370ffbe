"""Every error that asof raises: one tree, drawn here.

```
AsofError
├── DefinitionError        (ValueError)         you wrote it: a definition is wrong
│   ├── UnknownName        (KeyError)           a name that nothing carries
│   ├── InvalidExpression                       SQL in a definition that does not parse or is not allowed
│   └── UserCodeError      (RuntimeError)       your module or function raised
├── StateError             (RuntimeError)       the project, its configuration or its registry
│   ├── ConfigError        (ValueError)         a setting is wrong
│   ├── ProjectNotFound    (FileNotFoundError)  no asof.toml here
│   ├── UnknownEnvironment (KeyError)           an environment that the registry does not have
│   ├── RegistryMoved                           somebody else applied since the plan was made
│   ├── RegistryTooNew                          a newer asof has written the registry
│   ├── NotMaterialized                         a version would be served that no store holds yet
│   ├── Refused                                 a service's policy refuses to answer with what there is
│   └── BreakingChange                          what somebody reads would be gone; refused unless forced
├── DataError              (ValueError)         rows and files
│   ├── MissingColumn      (KeyError)           a column that the data does not have
│   ├── WrongType          (TypeError)          a column of another type than declared or needed
│   ├── SourceNotFound     (FileNotFoundError)  a path or glob with no file
│   ├── CorruptSource                           a file that is half-written or not what its name says
│   ├── DuplicateRows                           ids that should be unique are not
│   └── NumericOverflow    (OverflowError)      a number that does not fit; never wrapped
├── BackendError           (RuntimeError)       an engine, store, stream or provider failed; `.retryable`: try again
├── LimitError             (RuntimeError)       a budget, rate, memory limit or deadline
└── MissingExtra           (ImportError)        an optional dependency is not installed
```

Each class has a stable `code`, its facts as attributes in `.facts`, and an optional `.hint` that says the
cure. Text never holds a secret or a customer's row. The wire shape is `AsofError.as_dict()`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class AsofError(Exception):
    """The root of the tree: a message, stable facts, and a hint that says the cure.

    Example:
        >>> error = DataError("source 'tx': no such file", hint="check the path", source="tx")
        >>> error.code, error.facts["source"]
        ('data_error', 'tx')
        >>> print(error)
        source 'tx': no such file
        hint: check the path
    """

    code: ClassVar[str] = "asof_error"

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts: dict[str, object] = facts

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"

    def as_dict(self) -> dict[str, object]:
        """The one wire shape: `{"error": {"code", "message", "hint", "facts"}}`."""
        body = {"code": self.code, "message": self.message, "hint": self.hint, "facts": dict(self.facts)}
        return {"error": body}


class DefinitionError(AsofError, ValueError):
    """A definition that a user wrote is wrong; raised when it is defined or loaded."""

    code = "definition_error"


class UnknownName(DefinitionError, KeyError):
    """A name that no object carries; the hint names the nearest one."""

    code = "unknown_name"


class InvalidExpression(DefinitionError):
    """SQL in a definition that does not parse, or that is more than an expression over the row's columns."""

    code = "invalid_expression"


class UserCodeError(DefinitionError, RuntimeError):
    """A user's module or function raised; the message names the file and line that did."""

    code = "user_code_error"


class StateError(AsofError, RuntimeError):
    """The project, its configuration or its registry is not in the state that was asked of it."""

    code = "state_error"


class ConfigError(StateError, ValueError):
    """A setting is unknown or has a value of the wrong form."""

    code = "config_error"


class ProjectNotFound(StateError, FileNotFoundError):
    """The folder holds no project (no `asof.toml`)."""

    code = "project_not_found"


class UnknownEnvironment(StateError, KeyError):
    """An environment that the registry does not have; the hint names the nearest one."""

    code = "unknown_environment"


class RegistryMoved(StateError):
    """Somebody else has changed the environment since the plan was made; nothing was changed."""

    code = "registry_moved"


class RegistryTooNew(StateError):
    """A newer asof has written the registry; the message says which version is needed."""

    code = "registry_too_new"


class NotMaterialized(StateError):
    """A protected environment would point at a version that is to be served and that no online store holds."""

    code = "not_materialized"


class Refused(StateError):
    """A service's policy refuses the answer: an entity is missing in a view, or a view is stale."""

    code = "refused"


class BreakingChange(StateError):
    """A change would take away what somebody is known to read; the message names the readers."""

    code = "breaking_change"


class DataError(AsofError, ValueError):
    """Rows or files are not what the definition says."""

    code = "data_error"


class MissingColumn(DataError, KeyError):
    """A column that is needed and that the data does not have."""

    code = "missing_column"


class WrongType(DataError, TypeError):
    """A column has another type than its use allows."""

    code = "wrong_type"


class SourceNotFound(DataError, FileNotFoundError):
    """A path or a glob that matches no file."""

    code = "source_not_found"


class CorruptSource(DataError):
    """A file that is half-written, empty, or not of the format that it claims."""

    code = "corrupt_source"


class DuplicateRows(DataError):
    """Values that identify rows stand in more than one row."""

    code = "duplicate_rows"


class NumericOverflow(DataError, OverflowError):
    """A number does not fit its type; asof raises and never wraps around."""

    code = "numeric_overflow"


class BackendError(AsofError, RuntimeError):
    """An engine, store, stream or provider failed; `retryable` says whether the same call may succeed later."""

    code = "backend_error"

    def __init__(
        self, message: str, *, hint: str | None = None, retryable: bool = False, **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **facts)
        self.retryable = retryable


class LimitError(AsofError, RuntimeError):
    """A budget, a rate, a memory limit or a deadline would be passed."""

    code = "limit_error"


class MissingExtra(AsofError, ImportError):
    """An optional dependency is not installed; the hint is the command that installs it."""

    code = "missing_extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the {extra!r} extra",
            hint=f"pip install 'asof[{extra}]'",
            feature=feature,
            extra=extra,
        )


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, or None when none is near.

    Example:
        >>> nearest("amuont", ["amount", "merchant_id"])
        'amount'
    """
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, allowed: Iterable[str], limit: int = 12) -> str | None:
    """A hint for an unknown name: the nearest allowed one, else the allowed ones (at most `limit`).

    Example:
        >>> did_you_mean("amuont", ["amount", "merchant_id"])
        "did you mean 'amount'?"
        >>> did_you_mean("zzz", ["b", "a"])
        'allowed: a, b'
    """
    names = sorted(set(allowed))
    near = nearest(name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    if not names:
        return None
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"allowed: {', '.join(names[:limit])}{more}"
