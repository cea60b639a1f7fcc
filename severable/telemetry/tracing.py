"""Traces: one trace spans the request, the events that it caused, and their handlers.

Without OTEL_EXPORTER_OTLP_ENDPOINT no span is recorded, but each still has its ids, so that
errors and events can name their trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
STATIC = r"^\w+://[^/]+/static/"

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("shop")
_ids = RandomIdGenerator()


def set_up() -> None:
    """Install the tracer and, with an endpoint, Django's instrumentation. Called once."""
    endpoint = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    provider = TracerProvider(
        sampler=DEFAULT_ON if endpoint else ALWAYS_OFF,
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
        tracer_provider=provider, excluded_urls=STATIC, middleware_position=position
    )


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
def span(name: str, parent: str = "") -> Iterator[None]:
    """Run the block in a span, as a child of a traceparent or else of the current span."""
    context = _propagator.extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context=context):
        yield


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
