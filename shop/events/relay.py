"""The relay: brings committed events to the broker. A request never publishes."""

from __future__ import annotations

from celery import current_app
from django.db.models import QuerySet
from kombu import Connection, Producer

from shop.events import queues
from shop.events.delivery import TASK
from shop.events.envelope import to_json
from shop.events.models import Event, RelayPosition
from shop.events.store import envelope

BATCH = 200


class Relay:
    """Publishes this database's events in commit order, and remembers how far it came.

    An event may be published twice, where the relay dies between publishing and remembering,
    and may get lost in the broker; deliveries and the reconciler make up for both.
    """

    def __init__(self) -> None:
        self._connection: Connection = current_app.connection_for_write()
        self._producer: Producer | None = None

    def step(self) -> bool:
        """Publish one batch. True where there may be more."""
        reached, _ = RelayPosition.objects.get_or_create(name="relay")
        waiting = Event.objects.after(reached.transaction_id, reached.position)
        batch = list(waiting[:BATCH])
        if batch:
            self._publish(batch)
            _remember(reached, batch[-1])
        return len(batch) == BATCH

    def close(self) -> None:
        """Let go of the broker."""
        self._producer = None
        self._connection.release()

    def _publish(self, batch: list[Event]) -> None:
        try:
            if self._producer is None:
                self._producer = self._connect()
            for event in batch:
                self._send(self._producer, event)
        except Exception:
            self.close()
            raise

    def _connect(self) -> Producer:
        self._connection = current_app.connection_for_write()
        channel = self._connection.default_channel
        for queue in current_app.conf.task_queues:
            queue(channel).declare()
        return Producer(channel, serializer="json")

    def _send(self, producer: Producer, event: Event) -> None:
        message = current_app.amqp.as_task_v2(str(event.id), TASK, (to_json(envelope(event)),))
        producer.publish(
            message.body,
            exchange=queues.EVENTS,
            routing_key=event.type,
            headers=message.headers,
            delivery_mode=2,
            retry=False,
            **message.properties,
        )


def _remember(reached: RelayPosition, event: Event) -> None:
    # Only forwards: a relay that lost its lease while it slept must not set another one back.
    behind: QuerySet[RelayPosition] = RelayPosition.objects.filter(
        name=reached.name, transaction_id=reached.transaction_id, position=reached.position
    )
    behind.update(transaction_id=event.transaction_id, position=event.position)
