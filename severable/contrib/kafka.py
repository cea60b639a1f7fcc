"""Kafka, where there is one: a second sink for the store's events, for those outside the shop.

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
# Seconds that an event has to be taken, and until that is known; they fit into the relay's lease.
TIMEOUT = 2.5
MARGIN = 1.25

CLIENT = {
    "client.id": "shop",
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # that of Kafka's own clients: keys meet in joins
    "delivery.timeout.ms": int(TIMEOUT * 1000),
    "topic.metadata.propagation.max.ms": 1000,  # how long a topic may be unknown
    "log_level": 0,  # what is wrong is told with the event that it holds up
}
HEADERS: dict[str, str | bytes | None] = {
    "content-type": "application/cloudevents+json; charset=UTF-8"
}


class NotTaken(OSError):
    """Kafka has not taken an event, for now or for good. The text names it."""


class Kafka:
    """Publishes this database's events to Kafka, and remembers how far it came.

    Each is published at least once. Those of one stream come in order: none is sent before the
    one ahead of it was taken, so that what comes twice never comes late. One that Kafka refuses
    is tried, and told of, until it is taken: nothing of its stream overtakes it.
    """

    def __init__(self) -> None:
        self._trouble = ""
        self._producer: Producer | None = self._connect()  # bad options show at once
        self._most = BATCH

    def step(self) -> bool:
        """Publish one batch. True where there may be more. Raises NotTaken after TIMEOUT."""
        reached, _ = RelayPosition.objects.get_or_create(name="kafka")
        waiting = Event.objects.after(reached.transaction_id, reached.position)
        batch = _each_stream_once(list(waiting[: self._most]))
        if not batch:
            if self._producer:
                self._producer.poll(0)  # for what its threads have to tell
            return False
        refused = self._publish(batch)
        taken = list(takewhile(lambda event: event not in refused, batch))
        if taken:
            reached.move_to(taken[-1])
        if refused:
            self.close()
            self._most = 1  # what follows would come again with each try
            event = batch[len(taken)]
            why = f"{refused[event]}{self._trouble}"
            raise NotTaken(f"{event} ({event.id}) to {topic_of(event)}: {why}")
        self._most = BATCH
        return True

    def close(self) -> None:
        """Let go of Kafka, and of what was not sent yet."""
        if self._producer:
            self._producer.purge()
            self._producer.flush(0)
        self._producer = None

    def _publish(self, batch: list[Event]) -> dict[Event, str]:
        """Send a batch and wait for what becomes of it. Says what was not taken, and why."""
        self._producer, self._trouble = self._producer or self._connect(), ""
        refused = dict.fromkeys(batch, "no answer in time")

        def delivered(event: Event, error: KafkaError | None, message: Message) -> None:
            if error:
                refused[event] = error.str()
            else:
                del refused[event]

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
                refused[event] = error.args[0].str()
        self._producer.flush(TIMEOUT + MARGIN)
        return refused

    def _note(self, error: KafkaError) -> None:
        self._trouble = f"; {error.str()}"

    def _connect(self) -> Producer:
        servers = {"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS}
        try:
            options = json.loads(settings.KAFKA_OPTIONS)
            return Producer(CLIENT | servers | options | {"error_cb": self._note})
        except KafkaException as error:
            raise ImproperlyConfigured(f"KAFKA_OPTIONS: {error.args[0].str()}") from None
        except (ValueError, TypeError):
            raise ImproperlyConfigured("KAFKA_OPTIONS is no JSON object") from None


def topic_of(event: Event) -> str:
    """Return the topic of an event: "order-events" for "order.OrderPaid"."""
    return f"{event.type.partition('.')[0]}-events"


def _each_stream_once(events: list[Event]) -> list[Event]:
    """The first events, up to where a stream comes again."""
    batch: dict[str, Event] = {}
    for event in events:
        if event.stream in batch:
            break
        batch[event.stream] = event
    return list(batch.values())
