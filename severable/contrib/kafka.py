"""Kafka: an optional second sink for events, for readers outside the shop.

An event of `order.proto` goes to the topic `order-events`, keyed by its stream, as a CloudEvent
in structured mode (CloudEvents 1.0, Kafka protocol binding and JSON format).
"""

from __future__ import annotations

import json
from functools import partial
from itertools import takewhile

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from severable.events.models import Event, RelayPosition
from severable.events.store import cloud_event

try:
    from confluent_kafka import KafkaError, KafkaException, Message, Producer
except ImportError:
    raise ImproperlyConfigured(
        "KAFKA_BOOTSTRAP_SERVERS is set, and its client is not installed: "
        "pip install -r requirements-kafka.txt"
    ) from None

BATCH = 200
# Seconds for the delivery of an event, and for its report; both fit into the lease.
TIMEOUT = 2.5
MARGIN = 1.25

CLIENT = {
    "client.id": "shop",
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # as Kafka's Java clients, so that joins by key work
    "delivery.timeout.ms": int(TIMEOUT * 1000),
    "topic.metadata.propagation.max.ms": 1000,  # how long an unknown topic is retried
    "log_level": 0,  # errors are reported with the event
}
HEADERS: dict[str, str | bytes | None] = {
    "content-type": "application/cloudevents+json; charset=UTF-8"
}


class NotAccepted(OSError):
    """Kafka has not accepted an event. The message names it."""


class Kafka:
    """Publishes this database's events to Kafka, and stores its position.

    Each event is published at least once, and those of a stream in order: none is sent before Kafka
    has accepted the previous one. An event that Kafka rejects is retried and logged until it is
    accepted.
    """

    def __init__(self) -> None:
        self._last_error = ""
        self._producer: Producer | None = self._connect()  # raises at start if options are invalid
        self._limit = BATCH

    def step(self) -> bool:
        """Publish one batch. Return True if there may be more. Raises NotAccepted after TIMEOUT."""
        position, _ = RelayPosition.objects.get_or_create(name="kafka")
        waiting = Event.objects.committed_after(position.transaction_id, position.position)
        batch = _one_per_stream(list(waiting[: self._limit]))
        if not batch:
            if self._producer:
                self._producer.poll(0)  # to run its callbacks
            return False
        rejected = self._publish(batch)
        accepted = list(takewhile(lambda event: event not in rejected, batch))
        if accepted:
            position.advance_to(accepted[-1])
        if rejected:
            self.close()
            self._limit = 1  # do not send the events behind it again with each attempt
            event = batch[len(accepted)]
            why = f"{rejected[event]}{self._last_error}"
            raise NotAccepted(f"{event} ({event.id}) to {topic_of(event)}: {why}")
        self._limit = BATCH
        return True

    def close(self) -> None:
        """Close the producer, and drop what is not sent."""
        if self._producer:
            self._producer.purge()
            self._producer.flush(0)
        self._producer = None

    def _publish(self, batch: list[Event]) -> dict[Event, str]:
        """Send a batch and wait for its reports. Return the events not accepted, with the error."""
        self._producer, self._last_error = self._producer or self._connect(), ""
        rejected = dict.fromkeys(batch, "no response in time")

        def delivered(event: Event, error: KafkaError | None, message: Message) -> None:
            if error:
                rejected[event] = error.str()
            else:
                del rejected[event]

        for event in batch:
            try:
                self._producer.produce(
                    topic_of(event),
                    json.dumps(cloud_event(event)).encode(),
                    event.stream.encode(),
                    headers=HEADERS,
                    on_delivery=partial(delivered, event),
                )
            except KafkaException as error:
                rejected[event] = error.args[0].str()
        self._producer.flush(TIMEOUT + MARGIN)
        return rejected

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = f"; {error.str()}"

    def _connect(self) -> Producer:
        servers = {"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS}
        try:
            options = json.loads(settings.KAFKA_OPTIONS)
            return Producer(CLIENT | servers | options | {"error_cb": self._on_error})
        except KafkaException as error:
            raise ImproperlyConfigured(f"KAFKA_OPTIONS: {error.args[0].str()}") from None
        except (ValueError, TypeError):
            raise ImproperlyConfigured("KAFKA_OPTIONS is not a JSON object") from None


def topic_of(event: Event) -> str:
    """Return the topic of an event: "order-events" for "order.OrderPaid"."""
    return f"{event.type.partition('.')[0]}-events"


def _one_per_stream(events: list[Event]) -> list[Event]:
    """Return the events before the second one of any stream."""
    batch: dict[str, Event] = {}
    for event in events:
        if event.stream in batch:
            break
        batch[event.stream] = event
    return list(batch.values())
