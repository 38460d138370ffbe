"""A request and its reply, as routes see them: bytes in, bytes out, no HTTP library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from asof.serving.failures import Failure, HttpError

JSON = b"application/json"
T = TypeVar("T")


@dataclass(slots=True)
class Request:
    """One request: its headers by lower-case name, its whole body, and what the log will say of it."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    request_id: str = ""
    body: bytes = b""
    service: str = ""
    entities: int = 0


@dataclass(slots=True)
class Reply:
    """One reply."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])


Handler = Callable[[Request], Awaitable[Reply]]
ErrorBody = Callable[[Failure], bytes]


@dataclass(frozen=True)
class Route:
    """A path with its methods, and how it treats requests.

    Args:
        path: the path; one that ends in `/` takes one more part.
        handlers: by method.
        open: needs no key, and answers also when the server is full.
        reads: reads features, and is counted as such.
        error_body: how it writes errors, where a client of others expects another shape.
        statuses: statuses that such a client does not know, and which it gets instead.
        media: the media types of bodies that it takes.
    """

    path: str
    handlers: Mapping[str, Handler]
    open: bool = False
    reads: bool = False
    error_body: ErrorBody = Failure.body
    statuses: Mapping[int, int] = field(default_factory=dict[int, int])
    media: tuple[bytes, ...] = (JSON,)


def media_of(content_type: bytes | None) -> bytes:
    """The media type of a Content-Type header in lower case; JSON where there is none.

    Example:
        >>> media_of(b"Application/JSON; charset=utf-8"), media_of(None)
        (b'application/json', b'application/json')
    """
    return JSON if content_type is None else content_type.partition(b";")[0].strip().lower()


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body as the type of the decoder. Its errors name the place and the types, never a value.

    Raises:
        HttpError: it is no JSON, or not of the type.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise HttpError("bad_request", f"the body is not what the route takes: {exc}", hint=SEE) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise HttpError("bad_request", f"the body is not JSON: {exc}"[:300], hint=SEE) from None


SEE = "/openapi.json says what the route takes"
