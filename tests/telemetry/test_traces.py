"""One trace and one correlation span a request, its events, and what their handlers do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import context, trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from apps.inventory.models import Product
from apps.users.models import User
from severable.events.models import Event
from severable.telemetry import tracing
from tests.conftest import ClientFor
from tests.machine import settle

ORDER = {
    "items": [{"sku": "MUG", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Every span that ends, as if an endpoint was set."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    tracing.instrument(provider)
    # A test that let a request die has left its span behind.
    token = context.attach(context.Context())
    yield exporter
    context.detach(token)
    DjangoInstrumentor().uninstrument()


def trace_ids(finished: tuple[ReadableSpan, ...]) -> set[int]:
    return {span.context.trace_id for span in finished if span.context}


@pytest.mark.django_db
def test_an_order_is_one_trace_from_request_to_last_handler(
    alice: User, mug: Product, client_for: ClientFor, spans: InMemorySpanExporter
) -> None:
    settle()
    spans.clear()
    client_for(alice).post("/api/orders", ORDER)
    settle()
    finished = spans.get_finished_spans()
    names = {span.name for span in finished}
    assert {"order.OrderPaid to notifications.tell_paid", "saga place_order"} <= names
    assert len(trace_ids(finished)) == 1
    assert [span.name for span in finished if span.parent is None] == ["POST api/orders"]


@pytest.mark.django_db
def test_a_caller_s_trace_goes_on_here(
    alice: User, mug: Product, client_for: ClientFor, spans: InMemorySpanExporter
) -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client_for(alice).post("/api/orders", ORDER, headers={"traceparent": given})
    stored = Event.objects.get(type="order.OrderPaid").traceparent
    assert trace.format_trace_id(next(iter(trace_ids(spans.get_finished_spans())))) in stored
    assert stored[3:35] == given[3:35]


@pytest.mark.django_db
def test_events_belong_to_the_request_and_name_what_caused_them(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    settle()
    headers = {"X-Request-ID": "request-0001"}
    placed = client_for(alice).post("/api/orders", ORDER, headers=headers)
    settle()
    events = {e.type: e for e in Event.objects.filter(correlation_id="request-0001")}
    assert placed["X-Request-ID"] == "request-0001"
    assert {"order.OrderCreated", "payment.PaymentReceived", "inventory.StockSold"} <= set(events)
    assert {e.actor for e in events.values()} == {f"user-{alice.id}"}
    sold = events["inventory.StockSold"]
    assert sold.causation_id == str(events["order.OrderPaid"].id)
