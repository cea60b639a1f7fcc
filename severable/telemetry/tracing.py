"""Traces: one trace spans the request, the events that it caused, and their handlers.

Without OTEL_EXPORTER_OTLP_ENDPOINT no span is recorded, but each still has its ids, so that
errors and events can name their trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import Link, Span, SpanKind, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
STATIC = r"^\w+://[^/]+/static/"

Attributes = Mapping[str, str | int]

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("shop")
_ids = RandomIdGenerator()


class Roots(Sampler):
    """Samples traces that begin with a request, and none that begin with a call.

    Processes that poll call others all the time: readers of event feeds, the scheduler, the caches.
    """

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if kind is not SpanKind.SERVER and "rpc.system" in (attributes or {}):
            return SamplingResult(Decision.DROP)
        return ALWAYS_ON.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return "Roots"


SAMPLER = ParentBased(Roots())


def set_up() -> None:
    """Install the tracer and, with an endpoint, Django's instrumentation. Called once."""
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    provider = TracerProvider(
        sampler=SAMPLER if endpoint else ALWAYS_OFF,
        resource=Resource.create({"service.name": settings.DEPLOYMENT.name}),
    )
    if endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        instrument(provider)
    trace.set_tracer_provider(provider)


def instrument(provider: TracerProvider) -> None:
    """Trace every request except for static files and for probes, which are answered before."""
    position = settings.MIDDLEWARE.index("severable.telemetry.middleware.Probes") + 1
    DjangoInstrumentor().instrument(
        tracer_provider=provider,
        excluded_urls=STATIC,
        middleware_position=position,
        request_hook=_leave_out_query,
    )


def _leave_out_query(span: Span, request: HttpRequest) -> None:
    """Replace the URL by its path: queries may have what only their sender may know."""
    for attribute in ("http.url", "http.target"):
        span.set_attribute(attribute, request.path)


def traceparent() -> str:
    """Return the current span as a W3C traceparent, or "" if there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent", "")


def traced() -> tuple[tuple[str, str], ...]:
    """Return the metadata that link a call to the current trace."""
    parent = traceparent()
    return (("traceparent", parent),) if parent else ()


def trace_id() -> str:
    """Return the current trace's id in 32 hex digits, or "" if there is none."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


@contextmanager
def span(
    name: str,
    parent: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> Iterator[None]:
    """Run the block in a span, which records the error that the block raises.

    Args:
        name: of the span, without ids, so that spans of one name can be compared.
        parent: a traceparent; without one the current span is the parent.
        kind: on which side of a message or a call it is.
        attributes: by OpenTelemetry's semantic conventions; no personal data.
    """
    context = _propagator.extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context, kind, attributes):
        yield


def begin(name: str, kind: SpanKind, attributes: Attributes) -> Span:
    """Return a new span as a child of the current one. Its caller ends it."""
    return _tracer.start_span(name, kind=kind, attributes=attributes)


def rpc_attributes(method: str) -> dict[str, str | int]:
    """Return the attributes of a call of a method such as "/user.UserService/GetUser"."""
    service, _, name = method[1:].partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def message_attributes(operation: str, type_: str, event_id: str = "") -> dict[str, str | int]:
    """Return the attributes of an operation ("publish", "process") on an event of a type."""
    found: dict[str, str | int] = {
        "messaging.system": "celery",
        "messaging.operation.type": operation,
        "messaging.destination.name": type_,
    }
    return found | ({"messaging.message.id": event_id} if event_id else {})


@contextmanager
def forwarding(parent: str) -> Iterator[str]:
    """Run the block in a span if spans are recorded. Yields the traceparent of requests in it.

    A span that is not recorded costs a proxy more than the rest of its work: without an endpoint,
    the parent is passed on, or a new trace begins.
    """
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        with span("forward", parent):
            yield traceparent()
    elif TRACEPARENT.fullmatch(parent):
        yield parent
    else:
        yield f"00-{_ids.generate_trace_id():032x}-{_ids.generate_span_id():016x}-00"
