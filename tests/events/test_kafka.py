"""Kafka as a second sink: all events, each stream in order, and nobody else waits for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from apps.inventory.models import Product
from apps.users.models import User
from protos.order_pb2 import OrderCreated, OrderPaid
from protos.user_pb2 import UserUpdated
from severable.contrib import kafka
from severable.contrib.kafka import Kafka, NotAccepted
from severable.events import store
from severable.events.models import Event, RelayPosition
from severable.events.store import append
from tests.conftest import ClientFor
from tests.events.cluster import Cluster, cluster, event
from tests.machine import settle
from tests.processes import ROOT

NOBODY = "127.0.0.1:9"
WITHOUT_CLIENT = """
import os, sys
from django.core.management import execute_from_command_line
sys.modules["confluent_kafka"] = None
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
execute_from_command_line(["manage.py", "relay"])
"""
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def sink(broker: Cluster, settings: Any) -> Iterator[Kafka]:
    settings.KAFKA_BOOTSTRAP_SERVERS = broker.address
    made = Kafka()
    yield made
    made.close()


def publish(sink: Kafka) -> None:
    """Step until all is published. A transaction that another test holds open on the same
    PostgreSQL keeps later events back: rightly, so this is patient."""
    last = Event.objects.order_by("position").last()
    deadline = time.monotonic() + 60
    while last and reached() < last.position and time.monotonic() < deadline:
        sink.step()


def reached() -> int:
    row = RelayPosition.objects.filter(name="kafka").first()
    return row.position if row else 0


def refusal(sink: Kafka) -> str:
    """What the sink says of the event that it cannot bring."""
    with pytest.raises(NotAccepted) as refused:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sink.step()
    return str(refused.value)


def ids(messages: list[Message]) -> list[str]:
    return [event(message)["id"] for message in messages]


def stored() -> list[str]:
    return [str(id) for id in Event.objects.order_by("position").values_list("id", flat=True)]


def record_some(orders: int, each: int = 1) -> None:
    for _ in range(each):
        with transaction.atomic():
            for n in range(orders):
                append(OrderCreated(order_id=f"o{n}"), stream=f"order-o{n}")


def test_every_event_of_an_order_arrives_on_its_topic_in_the_order_of_its_stream(
    sink: Kafka, broker: Cluster, mug: Product, alice: User, client_for: ClientFor
) -> None:
    order = {"items": [{"sku": "MUG", "quantity": 1}], "payment": {"method": "card"}}
    for token in ("tok_visa", "tok_declined"):
        order["payment"] = {"method": "card", "token": token}
        client_for(alice).post("/api/orders", order)
    settle()
    publish(sink)
    messages = broker.read(Event.objects.count())

    assert sorted(ids(messages)) == sorted(stored())
    streams: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        attributes = event(message)
        assert message.topic() == f"{attributes['type'].split('.')[0]}-events"
        assert message.key() == attributes["subject"].encode()
        streams[attributes["subject"]].append(attributes["sequence"])
    assert all(sequence == sorted(sequence) for sequence in streams.values())
    topics = {message.topic() for message in messages}
    assert topics == {"user-events", "inventory-events", "payment-events", "order-events"}


def test_a_message_is_a_cloud_event(sink: Kafka, broker: Cluster) -> None:
    """CloudEvents 1.0, JSON format: attributes are lower-case words with plain values that are
    not empty, and data of a JSON type is JSON, not text."""
    with transaction.atomic():
        append(OrderPaid(order_id="o1", total=1800), stream="order-o1")
    publish(sink)
    [message] = broker.read(1)
    attributes = event(message)
    data = attributes.pop("data")

    headers = dict(message.headers() or [])
    assert headers == {"content-type": b"application/cloudevents+json; charset=UTF-8"}
    assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in attributes)
    assert all(isinstance(value, str | int) and value for value in attributes.values())
    assert datetime.fromisoformat(attributes["time"]).tzinfo
    assert {"specversion", "id", "source", "type", "subject"} <= attributes.keys()
    assert (attributes["specversion"], attributes["type"]) == ("1.0", "order.OrderPaid")
    assert (attributes["datacontenttype"], data["order_id"]) == ("application/json", "o1")


def test_what_was_not_remembered_comes_again_with_its_id(
    sink: Kafka, broker: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between publishing and remembering."""
    record_some(orders=3, each=2)
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(
            RelayPosition, "advance_to", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        publish(sink)
    sink.close()
    publish(Kafka())
    got = ids(broker.read(9))

    assert len(got) == 9
    assert set(got) == set(stored())


def test_a_frozen_broker_is_waited_for_and_nothing_is_lost(sink: Kafka, broker: Cluster) -> None:
    """Whoever waits without a bound loses the lease, and a second one publishes beside it."""
    record_some(orders=2)
    publish(sink)
    broker.freeze()
    record_some(orders=2, each=2)
    began = time.monotonic()
    said = refusal(sink)
    assert time.monotonic() - began < kafka.TIMEOUT + kafka.MARGIN + 1
    assert "order.OrderCreated order-o0/2" in said
    broker.thaw()
    publish(sink)
    messages = broker.read(6)

    assert set(ids(messages)) == set(stored())
    for stream in ("order-o0", "order-o1"):
        seen = [event(m)["sequence"] for m in messages if event(m)["subject"] == stream]
        first = list(dict.fromkeys(seen))
        assert first == sorted(first), "an event came before the one ahead of it"


def test_a_broker_that_is_back_elsewhere_gets_what_is_missing(settings: Any) -> None:
    settings.KAFKA_BOOTSTRAP_SERVERS = NOBODY
    record_some(orders=2)
    sink = Kafka()
    said = refusal(sink)
    assert "order.OrderCreated order-o0/1" in said
    assert "Connection refused" in said
    assert reached() == 0
    with cluster() as broker:
        settings.KAFKA_BOOTSTRAP_SERVERS = broker.address
        publish(sink)
        assert sorted(ids(broker.read(2))) == sorted(stored())
        sink.close()


def test_what_kafka_does_not_take_is_named_and_nothing_overtakes_it(
    sink: Kafka, broker: Cluster, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stream would go on without it, or the log would not say why nothing comes."""
    monkeypatch.setattr(store, "MAX_DATA", 4_000_000)
    record_some(orders=2)
    with transaction.atomic():
        large = append(UserUpdated(name="x" * 2_000_000), stream="user-1")
    record_some(orders=2)
    said = refusal(sink)
    again = refusal(sink)

    assert said == again
    assert f"user.UserUpdated user-1/1 ({large.id}) to user-events" in said
    assert "too large" in said
    assert sorted(ids(broker.read(2))) == sorted(stored()[:2])
    settings.KAFKA_OPTIONS = '{"message.max.bytes": 4000000}'
    publish(sink)
    assert sorted(ids(broker.read(5))) == sorted(stored())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ('{"security.protokol": "ssl"}', r"KAFKA_OPTIONS: .*security\.protokol"),
        ("ssl", "KAFKA_OPTIONS is not a JSON object"),
        ("[]", "KAFKA_OPTIONS is not a JSON object"),
        ('"ssl"', "KAFKA_OPTIONS is not a JSON object"),
    ],
)
def test_options_that_are_none_are_named(settings: Any, given: str, complaint: str) -> None:
    settings.KAFKA_BOOTSTRAP_SERVERS, settings.KAFKA_OPTIONS = NOBODY, given
    with pytest.raises(ImproperlyConfigured, match=complaint):
        Kafka()


def test_without_its_client_the_relay_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY)
    command = [sys.executable, "-c", WITHOUT_CLIENT]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "pip install -r requirements-kafka.txt" in done.stderr
