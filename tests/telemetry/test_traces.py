"""One trace and one correlation span a request, its events, and what their handlers do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from apps.inventory.models import Product
from apps.users.models import User
from protos.user_pb2 import GetUserRequest
from protos.user_pb2_grpc import UserServiceStub
from severable.events.models import Event
from severable.rpc.client import stubs
from severable.telemetry import tracing
from tests.conftest import ClientFor
from tests.machine import settle

ORDER = {
    "items": [{"sku": "MUG", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[InMemorySpanExporter]:
    """Every span that ends, as if an endpoint was set."""
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:1"
    forget_channels()
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=tracing.SAMPLER)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    tracing.instrument(provider)
    # A test that let a request die has left its span behind.
    token = context.attach(context.Context())
    yield exporter
    context.detach(token)
    DjangoInstrumentor().uninstrument()
    forget_channels()


def forget_channels() -> None:
    """Channels are made once, with or without spans."""
    stubs.stub.cache_clear()
    stubs.channel_to.cache_clear()


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
    names = Counter(span.name for span in finished)
    known = {span.context.span_id for span in finished if span.context}

    assert {"place_order payment", "saga place_order", "payment.PaymentService/Pay"} <= set(names)
    assert names["order.OrderPaid to notifications.tell_paid"] == 1, "a span for each handling"
    assert len(trace_ids(finished)) == 1
    assert [span.name for span in finished if span.parent is None] == ["POST api/orders"]
    assert [s.name for s in finished if s.parent and s.parent.span_id not in known] == []


@pytest.mark.django_db
def test_spans_say_what_a_service_map_needs(
    alice: User, mug: Product, client_for: ClientFor, spans: InMemorySpanExporter
) -> None:
    client_for(alice).post("/api/orders", ORDER)
    settle()
    by_name = {span.name: span for span in spans.get_finished_spans()}
    by_id = {span.context.span_id: span.name for span in by_name.values() if span.context}
    call = by_name["inventory.InventoryService/Reserve"]
    published = by_name["append order.OrderPaid"]
    handled = by_name["order.OrderPaid to inventory.sell_what_was_held"]

    assert by_name["POST api/orders"].kind is SpanKind.SERVER
    assert call.kind is SpanKind.INTERNAL, "it does not leave the process"
    assert dict(call.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "inventory.InventoryService",
        "rpc.method": "Reserve",
        "rpc.grpc.status_code": 0,
        "peer.service": "inventory",
    }
    assert (published.kind, handled.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert handled.parent and by_id[handled.parent.span_id] == published.name
    assert (handled.attributes or {})["messaging.destination.name"] == "order.OrderPaid"
    assert (handled.attributes or {})["messaging.operation.type"] == "process"


@pytest.mark.django_db
def test_a_failed_call_and_a_failed_step_are_errors(
    alice: User, mug: Product, client_for: ClientFor, spans: InMemorySpanExporter
) -> None:
    declined = ORDER | {"payment": {"method": "card", "token": "tok_declined"}}
    client_for(alice).post("/api/orders", declined)
    by_name = {span.name: span for span in spans.get_finished_spans()}
    call = by_name["payment.PaymentService/Pay"]

    assert (call.attributes or {})["error.type"] == "FAILED_PRECONDITION"
    assert call.status.status_code is StatusCode.ERROR
    assert by_name["place_order payment"].status.status_code is StatusCode.ERROR
    assert "place_order compensate stock" in by_name


@pytest.mark.django_db
def test_calls_of_processes_that_poll_begin_no_trace(
    alice: User, spans: InMemorySpanExporter
) -> None:
    """Reconcilers read feeds all the time: two thirds of all spans were theirs."""
    stubs.stub(UserServiceStub).GetUser(GetUserRequest(user_id=alice.id))

    assert spans.get_finished_spans() == ()


@pytest.mark.django_db
def test_spans_have_no_secret(
    alice: User, mug: Product, client_for: ClientFor, spans: InMemorySpanExporter
) -> None:
    key = "a-key-that-nobody-may-read"
    client = client_for(alice)
    client.post("/api/orders?secret=in-the-query", ORDER, headers={"Idempotency-Key": key})
    client.post("/api/auth/token", {"username": "alice", "password": "a-wrong-password"})
    settle()
    written = "".join(span.to_json() for span in spans.get_finished_spans())

    assert "POST api/auth/token" in written
    for secret in (key, "tok_visa", "a-wrong-password", "in-the-query", "Bearer "):
        assert secret not in written, secret


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
