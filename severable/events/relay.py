"""The relay: publishes committed events to the broker. A request never publishes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import takewhile
from operator import attrgetter
from time import monotonic, sleep
from typing import Any

from amqp.exceptions import MessageNacked
from celery import current_app
from kombu import Connection, Producer

from severable.events import handlers, queues
from severable.events.delivery import TASK
from severable.events.models import IS_SETTLED, Event, RefusedEvent, RelayPosition, first_bytes
from severable.events.store import as_json

BATCH = 500
MAX_BATCH, MAX_BYTES = 50, 1_000_000  # of the events in one message
PROBE = "probe"
# Batches a second, after a burst: under load, events wait up to 25 ms and share a message.
MAX_RATE, BURST = 40.0, 10.0
HELD_BACK_SECONDS = 0.01, 0.2

log = logging.getLogger(__name__)


class Relay:
    """Publishes this database's events in commit order, and stores its position.

    Waiting events of one type are sent in one message. If the relay dies before it stores its
    position, events are published twice; the broker may lose some. Deliveries are idempotent, and
    the reconciler finds lost events.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._subscribed_types = {handler.type for handler in handlers.registered()}
        self._returned = False
        self._position: RelayPosition | None = None
        self._credit, self._paced_at, self._held_back = BURST, monotonic(), 0.0

    def reload(self) -> None:
        """Read the position from the database again: another process may have advanced it."""
        self._position = None

    def step(self) -> bool:
        """Publish one batch. Return True if there may be more."""
        if self._position is None:
            self._position, _ = RelayPosition.objects.get_or_create(name="relay")
        after = Event.objects.all_after(self._position.transaction_id, self._position.position)
        found = list(after.annotate(settled=IS_SETTLED)[:BATCH])
        batch = list(takewhile(attrgetter("settled"), found))
        if batch:
            self._publish(batch)
            if not self._position.advance_to(batch[-1]):
                self.reload()
        self._pace(published=bool(batch), held_back=len(batch) < len(found))
        return len(batch) < len(found) or len(batch) == BATCH

    def close(self) -> None:
        """Close the connection to the broker."""
        self._producer = None
        if self._connection:
            self._connection.release()
        self._connection = None

    def _pace(self, *, published: bool, held_back: bool) -> None:
        """Sleep while the rate is above MAX_RATE, or an open transaction holds back events."""
        shortest, longest = HELD_BACK_SECONDS
        now = monotonic()
        self._credit = min(BURST, self._credit + (now - self._paced_at) * MAX_RATE) - published
        self._paced_at = now
        blocked = held_back and not published
        self._held_back = min(max(shortest, 2 * self._held_back), longest) if blocked else 0.0
        sleep(max(self._held_back, -self._credit / MAX_RATE, 0.0))

    def _publish(self, batch: list[Event]) -> None:
        for events in _messages(batch):
            self._deliver(events)

    def _deliver(self, events: list[Event]) -> None:
        """Publish events in one message. If the broker rejects it twice, publish each by itself,
        and skip one that is rejected alone."""
        error = self._attempt(events) and self._attempt(events)
        if error and len(events) > 1:
            for event in events:
                self._deliver([event])
        elif error:
            _skip(events[0], error)

    def _attempt(self, events: list[Event]) -> Exception | None:
        """Publish a message. Return the error if the broker rejects this message only; raise it if
        the broker is down, does not respond, or accepts no message."""
        try:
            self._send(self._producer or self._connect(), events)
        except (TimeoutError, MessageNacked):  # a frozen broker; a queue that is full or moves
            self.close()
            raise
        except Exception as error:
            self.close()
            self._probe()
            return error
        return None

    def _probe(self) -> None:
        """Publish an unroutable message on a new connection. Raises if the broker does not accept
        it."""
        try:
            self._connect().publish({}, exchange=queues.EVENTS, routing_key=PROBE, retry=False)
        except Exception:
            self.close()
            raise

    def _connect(self) -> Producer:
        self._connection = current_app.connection_for_write()
        channel = self._connection.default_channel
        self._declare(channel)
        amqp = self._connection.transport.driver_type == "amqp"  # others return nothing
        self._producer = Producer(
            channel, serializer="json", on_return=self._on_return if amqp else None
        )
        return self._producer

    def _declare(self, channel: Any) -> None:
        for queue in current_app.conf.task_queues:
            queue(channel).declare()

    def _on_return(self, *returned: Any) -> None:
        self._returned = True

    def _send(self, producer: Producer, events: list[Event]) -> None:
        """Publish to the subscribed queues. The message is mandatory, because the broker confirms
        and drops an unroutable one."""
        self._returned = False
        self._publish_message(producer, events)
        if self._returned:  # a queue was deleted
            self._declare(producer.channel)
            self._publish_message(producer, events)

    def _publish_message(self, producer: Producer, events: list[Event]) -> None:
        bodies = [as_json(event) for event in events]
        message = current_app.amqp.as_task_v2(str(events[0].id), TASK, (bodies,))
        producer.publish(
            message.body,
            exchange=queues.EVENTS,
            routing_key=events[0].type,
            headers=message.headers,
            delivery_mode=2,
            retry=False,
            mandatory=events[0].type in self._subscribed_types,
            **message.properties,
        )


def _messages(batch: list[Event]) -> Iterator[list[Event]]:
    by_type: dict[str, list[Event]] = {}
    for event in batch:
        by_type.setdefault(event.type, []).append(event)
    for events in by_type.values():
        first = 0
        while message := first_bytes(events[first : first + MAX_BATCH], MAX_BYTES):
            yield message
            first += len(message)


def _skip(event: Event, error: Exception) -> None:
    """Store that an event is not published. The reconciler delivers it from the feed."""
    log.error("the broker rejects %s (%s): %s", event, event.id, error)
    RefusedEvent.objects.get_or_create(
        event_id=event.id,
        defaults={
            "type": event.type,
            "stream": event.stream,
            "error": f"{type(error).__name__}: {error}"[:2000],
        },
    )
