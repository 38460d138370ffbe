"""Errors as HTTP: their status, and their body in the one shape `{"error": {"code", "message", "hint", "facts"}}`.

What is wrong with the HTTP itself (no such route, a body too large) is an `HttpError` and has a code of this table; all
else is an error of asof's tree and keeps its code. An exception that is neither is a bug: 500, with no detail.
"""

from __future__ import annotations

import math
import traceback
from typing import Any

import msgspec

from asof.errors import (
    AsofError,
    BackendError,
    DataError,
    DefinitionError,
    LimitError,
    StateError,
    UserCodeError,
)

HTTP_CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The body is not what the route takes, or a header is not what it may be."),
    "unauthorized": (401, "The server asks for a key, and the request brings none or another."),
    "forbidden": (403, "The workspace is not the server's environment."),
    "not_found": (404, "There is no such route, service or source."),
    "method_not_allowed": (405, "The route takes other methods; `Allow` names them."),
    "not_acceptable": (406, "The route answers in other media types."),
    "body_too_large": (413, "The body is larger than the server takes."),
    "no_stream": (409, "The source has no stream that the server could append to."),
    "unsupported_media_type": (415, "The body is of a media type that the route does not take."),
    "overloaded": (
        503,
        "As many requests are in flight as the server takes; `Retry-After` says when to come back.",
    ),
    "service_changed": (
        503,
        "The service has changed while it was read; the same request may be made again.",
    ),
    "deadline_exceeded": (504, "The request's deadline came before its answer."),
    "internal_error": (500, "A bug of asof or a request feature that failed; the log has the request's id."),
}
"""Code -> status and meaning, of errors that only HTTP has."""

RETRY_AFTER_S = 1
_BY_CODE = {"not_materialized": 503, "refused": 409}
_BY_CLASS: tuple[tuple[type[AsofError], int], ...] = (
    (UserCodeError, 500),
    (DefinitionError, 400),
    (DataError, 400),
    (LimitError, 413),
    (BackendError, 503),
    (StateError, 503),
)
_MOST_TEXT = 2_000
_encode = msgspec.json.Encoder(enc_hook=str).encode


class HttpError(Exception):
    """Something wrong with the HTTP of a request: a code of `HTTP_CODES`, with words and facts."""

    def __init__(self, code: str, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.facts = facts

    @property
    def status(self) -> int:
        """The HTTP status."""
        return HTTP_CODES[self.code][0]


class Failure(msgspec.Struct, frozen=True):
    """An error on its way out: status, what to say, and whether the same request may succeed later."""

    status: int
    code: str
    message: str
    hint: str | None
    facts: dict[str, Any]
    retry: bool = False

    def body(self) -> bytes:
        """The one wire shape."""
        error = {"code": self.code, "message": self.message, "hint": self.hint, "facts": self.facts}
        return _encode({"error": error})


def failure_of(error: BaseException) -> Failure:
    """How an exception is told; nothing of one that is not ours."""
    if isinstance(error, HttpError):
        return Failure(
            error.status, error.code, error.message, error.hint, dict(error.facts), error.status == 503
        )
    if isinstance(error, TimeoutError):
        return Failure(504, "deadline_exceeded", "the request's deadline came before its answer", None, {})
    if isinstance(error, AsofError):
        status = status_of(error)
        facts = {name: _plain(value) for name, value in error.facts.items()}
        retry = status == 503 and (not isinstance(error, BackendError) or error.retryable)
        return Failure(
            status, error.code, _short(error.message), error.hint and _short(error.hint), facts, retry
        )
    return Failure(500, "internal_error", "the server failed; its log has the request's id", None, {})


def trace_of(error: BaseException) -> str:
    """For a log: the type and where it came from, and not its text, which may quote what a request held."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"


def status_of(error: AsofError) -> int:
    """The HTTP status of an error of the tree."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + " ..."


def _plain(value: object) -> object:
    """The fact as JSON has it: numbers and texts as they are, all else as text."""
    if isinstance(value, bool | int) or value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value[:100]]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return _short(str(value))
