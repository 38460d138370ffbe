"""Request features: a NumPy function over features and request values, the same function in training and in
serving.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asof.define.deprecated import Deprecated
from asof.define.feature_view import FeatureRef
from asof.define.names import check_name, check_people, check_unique
from asof.define.place import Placed
from asof.errors import DefinitionError, UnknownName, did_you_mean
from asof.types import DType, Schema

EVENT_TIME = "event_time"


@dataclass(frozen=True)
class RequestFeature(Placed):
    """A feature computed at request time. Made by `@request_feature`; calling it calls the function itself."""

    name: str
    function: Callable[..., Any] = field(repr=False)
    inputs: tuple[FeatureRef, ...]
    request: Schema
    dtype: DType
    parameters: tuple[str, ...]
    description: str = field(default="", compare=False)
    owner: str = field(default="", compare=False)
    tags: tuple[str, ...] = field(default=(), compare=False)
    deprecated: Deprecated | None = field(default=None, compare=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function itself gives."""
        return self.function(*args, **kwargs)

    def named(self, name: str) -> RequestFeature:
        """The same under another name in a service."""
        return replace(self, name=check_name("feature", name))


def request_feature(
    *,
    inputs: Sequence[FeatureRef] = (),
    request: Mapping[str, str | DType] | None = None,
    dtype: str | DType = "float64",
    name: str | None = None,
    owner: str = "",
    tags: Sequence[str] = (),
    deprecated: Deprecated | None = None,
) -> Callable[[Callable[..., Any]], RequestFeature]:
    """Make a function over NumPy arrays a feature.

    Shape: every parameter is an array of n values: an input feature by its name, a request column by its
    name, or `event_time` (datetime64[us]); the result is an array of n values. Numbers arrive as float64 with
    NaN for null (integers without nulls as int64), strings as object arrays with None.

    Raises:
        DefinitionError: a parameter that is neither an input nor a request column, an input that no parameter
            takes, or a function that takes positional-only or variable parameters.

    Example:
        >>> @request_feature(request={"amount": "float64"})
        ... def is_large(amount):
        ...     return amount > 1000
        >>> is_large.parameters
        ('amount',)
    """

    def decorate(function: Callable[..., Any]) -> RequestFeature:
        made = name or function.__name__
        where = f"request feature {check_name('request feature', made)!r}"
        check_people(where, owner, "", tags)
        schema = Schema.of(request or {})
        known = (*(ref.name for ref in inputs), *schema.names)
        check_unique(where, "inputs", known)
        parameters = _parameters(where, function, known)
        doc = inspect.getdoc(function) or ""
        return RequestFeature(
            made, function, tuple(inputs), schema, DType.parse(dtype), parameters, doc, owner, tuple(tags),
            deprecated,
        )  # fmt: skip

    return decorate


def _parameters(where: str, function: Callable[..., Any], known: Sequence[str]) -> tuple[str, ...]:
    kinds = inspect.signature(function).parameters
    allowed = (*known, EVENT_TIME)
    for name, parameter in kinds.items():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise DefinitionError(f"{where}: parameter {name!r} must be a plain named parameter")
        if name not in allowed:
            raise UnknownName(
                f"{where}: parameter {name!r} is neither an input nor a request column",
                hint=did_you_mean(name, allowed),
                parameter=name,
            )
    for name in known:
        if name not in kinds:
            raise DefinitionError(f"{where}: nothing takes {name!r}", hint=f"add a parameter named {name!r}")
    return tuple(kinds)
