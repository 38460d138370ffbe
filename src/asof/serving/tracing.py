"""Spans of OpenTelemetry, off unless asked for: one for each request, and in it one for the read of the store.

`open_tracer` loads the library and sends spans where its own variables say (OTEL_EXPORTER_OTLP_ENDPOINT ...). Spans
name service, route and status, and never a key or a value.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from asof.errors import MissingExtra


class Span(Protocol):
    """A span as far as it is used here."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Sets one attribute."""
        ...


class Tracer:
    """Traces nothing."""

    enabled = False

    def request(self, _route: str, _headers: Mapping[bytes, bytes]) -> AbstractContextManager[Span | None]:
        """A span for a request, below the one that its `traceparent` names."""
        return nullcontext()

    def read(self, _service: str) -> AbstractContextManager[Span | None]:
        """A span for a read of the store."""
        return nullcontext()

    def close(self) -> None:
        """Sends what is not sent yet."""


class OpenTelemetryTracer(Tracer):
    """Traces with a provider of OpenTelemetry."""

    enabled = True

    def __init__(self, provider: Any) -> None:
        self._api: Any = importlib.import_module("opentelemetry.trace")
        self._propagate: Any = importlib.import_module("opentelemetry.propagate")
        self._provider = provider
        self._tracer = provider.get_tracer("asof.serving")

    @contextmanager
    def request(self, route: str, headers: Mapping[bytes, bytes]) -> Generator[Span | None]:
        """A span for a request, below the one that its `traceparent` names."""
        carrier = {key.decode("latin-1"): headers[key].decode("latin-1") for key in _TRACE if key in headers}
        context = self._propagate.extract(carrier)
        with self._tracer.start_as_current_span(
            route, context=context, kind=self._api.SpanKind.SERVER
        ) as span:
            yield span

    @contextmanager
    def read(self, service: str) -> Generator[Span | None]:
        """A span for a read of the store."""
        with self._tracer.start_as_current_span("asof.read", attributes={"asof.service": service}) as span:
            yield span

    def close(self) -> None:
        """Sends what is not sent yet."""
        self._provider.shutdown()


_TRACE = (b"traceparent", b"tracestate")


def open_tracer(*, enabled: bool) -> Tracer:
    """The tracer, which traces nothing unless `enabled`.

    Raises:
        MissingExtra: OpenTelemetry is not installed.
    """
    if not enabled:
        return Tracer()
    try:
        sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
        export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
        otlp: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        resources: Any = importlib.import_module("opentelemetry.sdk.resources")
    except ImportError as exc:
        raise MissingExtra("tracing", "otel") from exc
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": "asof"}))
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    return OpenTelemetryTracer(provider)
