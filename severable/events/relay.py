"""The relay: brings committed events to the broker. A request never publishes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from amqp.exceptions import MessageNacked
from celery import current_app
from kombu import Connection, Producer

from severable.events import handlers, queues
from severable.events.delivery import TASK
from severable.events.envelope import to_json
from severable.events.models import Event, RefusedEvent, RelayPosition, within
from severable.events.store import envelope

BATCH = 500
MAX_BATCH, MAX_BYTES = 50, 1_000_000  # of the events in one message, all of one type
PROBE = "probe"

log = logging.getLogger(__name__)


class Relay:
    """Publishes this database's events in commit order, and remembers how far it came.

    Events of one type that wait together travel together. An event may be published twice, where
    the relay dies between publishing and remembering, and may get lost in the broker; deliveries
    and the reconciler make up for both.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._heard = {handler.type for handler in handlers.registered()}
        self._returned = False

    def step(self) -> bool:
        """Publish one batch. True where there may be more."""
        reached, _ = RelayPosition.objects.get_or_create(name="relay")
        waiting = Event.objects.after(reached.transaction_id, reached.position)
        batch = list(waiting[:BATCH])
        if batch:
            self._publish(batch)
            reached.move_to(batch[-1])
        return len(batch) == BATCH

    def close(self) -> None:
        """Let go of the broker."""
        self._producer = None
        if self._connection:
            self._connection.release()
        self._connection = None

    def _publish(self, batch: list[Event]) -> None:
        for events in _together(batch):
            self._deliver(events)

    def _deliver(self, events: list[Event]) -> None:
        """Publish events in one message. If the broker refuses it twice, publish each by itself,
        and park one that is refused alone."""
        error = self._try(events) and self._try(events)
        if error and len(events) > 1:
            for event in events:
                self._deliver([event])
        elif error:
            _park(events[0], error)

    def _try(self, events: list[Event]) -> Exception | None:
        """Publish a message. Returns the error if the broker refuses this one and takes others;
        raises it if the broker is down, does not answer, or takes nothing."""
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
        """Publish what no queue is bound to, on a new connection. Raises if the broker does not
        take it."""
        try:
            self._connect().publish({}, exchange=queues.EVENTS, routing_key=PROBE, retry=False)
        except Exception:
            self.close()
            raise

    def _connect(self) -> Producer:
        self._connection = current_app.connection_for_write()
        channel = self._connection.default_channel
        self._declare(channel)
        amqp = self._connection.transport.driver_type == "amqp"  # nobody else returns anything
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
        """Publish, and be sure that the broker has put it where it is heard: a confirmed message
        that no queue wants is dropped without a word, unless it is mandatory."""
        self._returned = False
        self._put(producer, events)
        if self._returned:  # somebody has deleted a queue of ours
            self._declare(producer.channel)
            self._put(producer, events)

    def _put(self, producer: Producer, events: list[Event]) -> None:
        bodies = [to_json(envelope(event)) for event in events]
        message = current_app.amqp.as_task_v2(str(events[0].id), TASK, (bodies,))
        producer.publish(
            message.body,
            exchange=queues.EVENTS,
            routing_key=events[0].type,
            headers=message.headers,
            delivery_mode=2,
            retry=False,
            mandatory=events[0].type in self._heard,
            **message.properties,
        )


def _together(batch: list[Event]) -> Iterator[list[Event]]:
    by_type: dict[str, list[Event]] = {}
    for event in batch:
        by_type.setdefault(event.type, []).append(event)
    for events in by_type.values():
        first = 0
        while message := within(events[first : first + MAX_BATCH], MAX_BYTES):
            yield message
            first += len(message)


def _park(event: Event, error: Exception) -> None:
    """Note that an event is not published. The reconciler delivers it, from the feed."""
    log.error("the broker refuses %s (%s): %s", event, event.id, error)
    RefusedEvent.objects.get_or_create(
        event_id=event.id,
        defaults={
            "type": event.type,
            "stream": event.stream,
            "error": f"{type(error).__name__}: {error}"[:2000],
        },
    )
