"""The broker's side: one message fans out to each context's queue, and the relay fills it."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from celery import current_app
from django.db import connection, transaction
from kombu import Connection, Exchange, Producer, Queue, binding

from protos.order_pb2 import OrderCreated, OrderPaid
from severable.events import delivery, queues, relay
from severable.events.models import Event, MalformedMessage, RelayPosition
from severable.events.notify import Listener
from severable.events.relay import Relay
from severable.events.store import append
from tests.machine import eventually


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Connection]:
    """An embedded broker in a folder of its own."""
    messages = tmp_path / "messages"
    messages.mkdir()
    options = {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(tmp_path / "bindings"),
        "polling_interval": 0.01,
    }
    with Connection("filesystem://", transport_options=options) as connection:
        yield connection


@pytest.fixture
def relaying(broker: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    monkeypatch.setattr(current_app, "connection_for_write", broker.clone)
    made = Relay()
    yield made
    made.close()


def waiting(broker: Connection, queue: str) -> list[str]:
    """Takes every message from a queue, and says which events they bring."""
    found = []
    channel = broker.default_channel
    while message := channel.basic_get(queue, no_ack=True):
        (events,), *_ = message.payload
        found += [event["id"] for event in events]
    return found


def published(relaying: Relay, broker: Connection, count: int) -> list[str]:
    """Publish until so many events have come to orders. A transaction that another test holds
    open on the same PostgreSQL keeps later events back: rightly, so this is patient."""
    found: list[str] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        relaying.step()
        found += waiting(broker, "orders")
    return found


def keep_stepping(relaying: Relay) -> None:
    """Step for as long as a failure may take to come."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        relaying.step()


def record_some(count: int) -> list[str]:
    with transaction.atomic():
        return [
            str(append(OrderPaid(order_id=f"o{n}"), stream=f"order-o{n}").id) for n in range(count)
        ]


@pytest.mark.django_db(transaction=True)
def test_an_event_reaches_every_context_that_listens_and_no_other(
    relaying: Relay, broker: Connection
) -> None:
    ids = record_some(3)
    assert published(relaying, broker, 3) == ids
    assert waiting(broker, "notifications") == ids
    assert waiting(broker, "payments") == []


@pytest.mark.django_db(transaction=True)
def test_the_relay_goes_on_where_it_was(
    relaying: Relay, broker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    ids = record_some(5)
    assert published(relaying, broker, 5) == ids
    assert relaying.step() is False


@pytest.mark.django_db(transaction=True)
def test_what_the_broker_did_not_take_is_published_again(
    relaying: Relay, broker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = record_some(2)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="the broker is down"):
        broken.setattr(
            Producer,
            "publish",
            lambda *_, **__: (_ for _ in ()).throw(OSError("the broker is down")),
        )
        keep_stepping(relaying)
    assert published(relaying, broker, 2) == ids


@pytest.mark.django_db(transaction=True)
def test_an_emptied_folder_is_filled_again(
    relaying: Relay, broker: Connection, tmp_path: Path
) -> None:
    """The bindings are gone with it: events would be published to nobody, for ever."""
    record_some(1)
    published(relaying, broker, 1)
    shutil.rmtree(tmp_path / "bindings")
    shutil.rmtree(tmp_path / "messages")
    ids = record_some(2)
    assert published(relaying, broker, 2) == ids


@pytest.mark.django_db(transaction=True)
def test_a_relay_that_slept_sets_nobody_back(relaying: Relay) -> None:
    old = RelayPosition.objects.create(name="relay", position=5)
    RelayPosition.objects.update(position=9)
    event = type("Event", (), {"transaction_id": 0, "position": 7})
    old.advance_to(event)
    assert RelayPosition.objects.get().position == 9


def test_the_copy_of_a_message_says_which_queue_it_came_through(broker: Connection) -> None:
    """Celery does not tell: a worker of two contexts would run the handlers of the wrong one."""
    exchange, seen = Exchange("test", type="topic"), []
    with broker.channel() as channel:
        for name in ("one", "two"):
            bound = [binding(exchange, routing_key="fact")]
            queue = queues.ContextQueue(name, bindings=bound)(channel)
            queue.declare()
            queue.consume(name, lambda message: seen.append(message.headers["queue"]), no_ack=True)
        broker.Producer(channel).publish(
            {}, exchange="test", routing_key="fact", headers={"task": "severable.jobs.run"}
        )
        while len(seen) < 2:
            broker.drain_events(timeout=5)
    assert sorted(seen) == ["one", "two"]


def test_no_message_of_the_embedded_broker_is_read_half_written(broker: Connection) -> None:
    """kombu's own transport lets a reader see a file before it is written."""
    count, taken = 300, Counter[int]()
    queue = Queue("many", Exchange("many"), routing_key="many")

    def publish() -> None:
        with broker.clone() as mine:
            producer = mine.Producer()
            for number in range(count):
                producer.publish({"number": number}, routing_key="many", declare=[queue])

    writer = threading.Thread(target=publish)
    with broker.channel() as channel:
        queue(channel).declare()
        writer.start()
        while writer.is_alive() or sum(taken.values()) < count:
            try:
                message = channel._get("many")
            except Empty:
                continue
            taken[channel.Message(message, channel).payload["number"]] += 1
    writer.join()
    assert taken == Counter(range(count))


def test_processes_that_start_together_all_find_their_bindings(broker: Connection) -> None:
    """kombu's own transport may forget a binding when two are made at once."""

    def declare(number: int) -> None:
        with broker.clone() as mine:
            Queue(f"q{number}", Exchange("together"), routing_key=f"k{number}")(
                mine.default_channel
            ).declare()

    threads = [threading.Thread(target=declare, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(broker.default_channel.get_table("together")) == 12


@pytest.mark.django_db(transaction=True)
def test_what_nobody_can_read_is_kept_and_the_rest_flows(broker: Connection) -> None:
    """Celery logs such a message and forgets it, or dies of it."""
    exchange, seen = Exchange("test", type="topic"), []
    with broker.channel() as channel:
        queue = queues.ContextQueue("one", bindings=[binding(exchange, routing_key="fact")])
        bound = queue(channel)
        bound.declare()
        bound.consume("one", lambda message: seen.append(message.payload), no_ack=True)
        send = partial(broker.Producer(channel).publish, exchange="test", routing_key="fact")
        task = {"task": "severable.jobs.run"}
        send("{broken", content_type="application/json", content_encoding="utf-8", headers=task)
        send(b"\xff\x00", content_type="application/json", content_encoding="utf-8", headers=task)
        send(["pickled"], serializer="pickle", headers=task)
        send(["unknown"], headers={"task": "nobody.knows"})
        send(["good"], headers=task)
        while not seen:
            broker.drain_events(timeout=5)
    assert seen == [["good"]]
    kept = dict(MalformedMessage.objects.values_list("error", "queue"))
    assert set(kept.values()) == {"one"} and len(kept) == 4
    for complaint in ("Expecting property name", "can't decode", "pickle", "'nobody.knows'"):
        assert any(complaint in error for error in kept), kept


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body", [["text"], [{"id": 7}], [{"id": "x", "type": "y", "time": "z"}], "text", [None]]
)
def test_a_task_that_brings_no_events_is_kept(body: Any) -> None:
    delivery.deliver.apply((body,), headers={"queue": "orders"})
    assert MalformedMessage.objects.get().error.startswith("malformed events: ")


@pytest.mark.django_db(transaction=True)
def test_a_commit_wakes_the_relay() -> None:
    """Else each event waits for the next poll."""
    stop = threading.Event()
    listener = Listener(stop)
    wait = listener.waiter()
    listening = threading.Thread(target=listener.run)
    listening.start()
    while wait(1):  # its start
        pass
    record_some(1)
    woken = wait(10)
    stop.set()
    listening.join()
    assert woken


@pytest.mark.django_db
def test_a_commit_wakes_the_relay_once(django_capture_on_commit_callbacks: Any) -> None:
    """A round trip to the database for each event of a transaction; or none at all, where the
    savepoint that planned it was undone."""
    with django_capture_on_commit_callbacks() as planned:
        with suppress(ZeroDivisionError), transaction.atomic():
            record_some(1)
            raise ZeroDivisionError
        with transaction.atomic():
            for _ in range(3):
                append(OrderCreated(order_id="o1"), stream="order-o1")
    assert len(planned) == (1 if connection.vendor == "postgresql" else 0)
    assert Event.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_events_that_wait_together_travel_together(relaying: Relay, broker: Connection) -> None:
    """A message for each costs the broker and the worker more than the event itself."""
    ids = record_some(120)
    eventually(lambda: relaying.step() or RelayPosition.objects.get().position > 0)
    messages = []
    while message := broker.default_channel.basic_get("orders", no_ack=True):
        messages.append([event["id"] for event in message.payload[0][0]])
    assert [len(message) for message in messages] == [50, 50, 20]
    assert [event for message in messages for event in message] == ids
