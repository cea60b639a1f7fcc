"""Sizes: no event, page or message grows beyond what carries it, and one that is refused all the
same holds up no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed
from celery import current_app
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import transaction
from google.protobuf.json_format import MessageToJson
from kombu import Connection, Producer

from protos.order_pb2 import OrderCreated, OrderRejected
from severable.events import feed, handlers, reconciler, replay, status, store
from severable.events.models import Delivery, Event, RefusedEvent, RelayPosition
from severable.events.relay import MAX_BYTES, Relay
from severable.events.store import append
from severable.protos import events_pb2
from severable.protos.events_pb2_grpc import EventFeedStub
from severable.rpc.client.stubs import stub
from tests.events.recorded import recorded
from tests.machine import eventually

pytestmark = pytest.mark.django_db(transaction=True)

GRPC_LIMIT = 4 * 1024 * 1024
REJECTED = "order.OrderRejected"


def large(count: int, size: int = 200_000) -> list[Event]:
    """Events that come close to the limit, full of what JSON escapes."""
    with transaction.atomic():
        return [
            append(OrderRejected(order_id=f"o{n}", detail='"' * (size // 2)), stream=f"o{n}")
            for n in range(count)
        ]


@pytest.fixture
def subscribed() -> Iterator[handlers.Handler]:
    only = handlers.Handler("orders.test", "orders", REJECTED, print, (), replay=True)
    with handlers.overridden(only):
        yield only


def pages() -> list[events_pb2.ReadResponse]:
    found, after = list[events_pb2.ReadResponse](), events_pb2.Position()
    while True:
        request = events_pb2.ReadRequest(source="orders", types=[REJECTED], after=after)
        answer = stub(EventFeedStub, "orders").Read(request)
        found.append(answer)
        after = answer.reached
        if not answer.more:
            return found


def test_a_page_of_the_feed_ends_before_it_is_too_large_for_what_carries_it() -> None:
    """Regression: 450 events with 100 lines each were more than gRPC's 4 MB, and the reconciler
    stood still for good."""
    large(40)
    eventually(lambda: sum(len(page.events) for page in pages()) == 40)
    for page in pages():
        assert page.events
        assert page.ByteSize() < GRPC_LIMIT / 2
        assert len(MessageToJson(page)) < GRPC_LIMIT
    assert len({event.id for page in pages() for event in page.events}) == 40


def test_an_event_that_is_larger_than_a_page_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("severable.events.rpc.MAX_BYTES", 1000)
    large(3, size=2000)
    eventually(lambda: [len(page.events) for page in pages()] in ([1, 1, 1], [1, 1, 1, 0]))


def test_small_pages_are_all_compared_counted_and_replayed(
    subscribed: handlers.Handler, no_grace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that ends by its bytes is not the last one, though it is shorter than asked for."""
    monkeypatch.setattr("severable.events.rpc.MAX_BYTES", 10_000)
    large(9, size=4000)
    eventually(lambda: status.subscriptions()[subscribed.name] is not None)
    eventually(lambda: status.subscriptions()[subscribed.name].events == 9)  # type: ignore[union-attr]
    while reconciler.reconcile():
        pass
    assert Delivery.objects.count() == 9
    replay.begin(subscribed, feed.START)
    *_, last = replay.run(subscribed)
    assert last.events == 9


def test_an_event_beyond_the_limit_is_refused_where_it_is_recorded() -> None:
    """Regression: it was appended, and stopped the feed and the relay afterwards."""
    with pytest.raises(store.EventTooLarge, match=r"order\.OrderRejected .* \d+ bytes"):
        large(1, size=store.MAX_DATA + 1)
    assert not Event.objects.exists()


@pytest.fixture
def relaying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with Connection("memory://") as broker:
        monkeypatch.setattr(current_app, "connection_for_write", broker.clone)
        made = Relay()
        yield made
        made.close()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[Any]]]:
    """The streams of each message that the broker has taken. It refuses the stream "bad"."""
    taken: list[list[Any]] = []

    def publish(producer: Producer, body: Any, **options: Any) -> None:
        streams = [event["subject"] for event in body[0][0]] if body else []
        if "bad" in streams:
            raise PreconditionFailed("message size 3 is larger than configured max size 2")
        if streams:
            taken.append(streams)

    monkeypatch.setattr(Producer, "publish", publish)
    yield taken


def relay_all(relaying: Relay) -> None:
    last = Event.objects.order_by("position").last()
    assert last

    def through() -> bool:
        relaying.step()
        return RelayPosition.objects.get().position == last.position

    eventually(through)


def test_a_message_ends_by_its_bytes(relaying: Relay, published: list[list[Any]]) -> None:
    """Regression: 50 large events together were more than the broker takes."""
    large(20)
    relay_all(relaying)
    assert sum(len(streams) for streams in published) == 20
    assert max(len(streams) for streams in published) <= MAX_BYTES // 200_000


def test_what_the_broker_refuses_is_parked_alone_and_the_others_flow(
    relaying: Relay, published: list[list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the relay published the same message again, for ever."""
    recorded(3)
    with transaction.atomic():
        bad = append(OrderCreated(order_id="bad"), stream="bad")
        append(OrderCreated(order_id="o9"), stream="o9")
    relay_all(relaying)
    assert published == [["o0"], ["o1"], ["o2"], ["o9"]]
    parked = RefusedEvent.objects.get()
    assert parked.event_id == bad.id
    assert "larger than configured" in parked.error
    with pytest.raises(CommandError, match="relay: 1 events rejected by the broker"):
        call_command("events", "status", "--check")


@pytest.mark.parametrize("error", [AccessRefused("no"), ConnectionResetError(), TimeoutError()])
def test_a_broker_that_takes_nothing_has_refused_no_event(
    relaying: Relay, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is down, or takes nothing from us: the position is kept."""

    def publish(*_: Any, **__: Any) -> None:
        raise error

    recorded(2)
    eventually(lambda: len(feed.read("orders", ["order.OrderCreated"], feed.START)[0]) == 2)
    with monkeypatch.context() as broken:
        broken.setattr(Producer, "publish", publish)
        with pytest.raises(type(error)):
            relaying.step()
    assert RelayPosition.objects.get().position == 0
    assert not RefusedEvent.objects.exists()


def test_rabbitmq_refuses_one_message_and_takes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes the channel with PRECONDITION_FAILED, as for a message that is too large."""
    if not settings.CELERY_BROKER_URL.startswith("amqp"):
        pytest.skip("the embedded broker refuses nothing")
    publish, taken = Producer.publish, list[str]()

    def signed(producer: Producer, body: Any, **options: Any) -> None:
        streams = [event["subject"] for event in body[0][0]] if body else []
        user = {"user_id": "nobody"} if "bad" in streams else {}
        publish(producer, body, **options | user)
        taken.extend(streams)

    monkeypatch.setattr(Producer, "publish", signed)
    recorded(2)
    with transaction.atomic():
        append(OrderCreated(order_id="bad"), stream="bad")
    relaying = Relay()
    relay_all(relaying)
    relaying.close()
    assert taken == ["o0", "o1"]
    assert RefusedEvent.objects.get().error.startswith("PreconditionFailed")
