"""The broker's side of events: one topic exchange, and one durable queue per context.

One message per event fans out to the queue of every context that has a handler for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from kombu import Exchange, Queue, binding

from shop.events import handlers

EVENTS = "shop.events"


class ContextQueue(Queue):
    """A queue that tells its consumer which one it is.

    One message reaches the queues of several contexts, and a worker may consume several
    queues; only the queue that a copy came through says whose handlers it is for.
    """

    def consume(
        self, consumer_tag: str = "", callback: Any = None, *args: Any, **options: Any
    ) -> Any:
        def stamped(message: Any) -> Any:
            message.headers["queue"] = self.name
            return callback(message)

        return super().consume(consumer_tag, cast(Any, stamped), *args, **options)


def context_queues(contexts: Iterable[str], arguments: dict[str, Any]) -> list[Queue]:
    """The queues of these contexts, each bound to what its handlers listen to, and to its own
    name for what is sent to it alone."""
    return [_queue(context, arguments) for context in contexts]


def _queue(context: str, arguments: dict[str, Any]) -> Queue:
    exchange = Exchange(EVENTS, type="topic", durable=True)
    keys = {context, *(handler.type for handler in handlers.registered(context))}
    queue = ContextQueue(
        context,
        bindings=[binding(exchange, routing_key=key) for key in sorted(keys)],
        durable=True,
        queue_arguments=arguments,
    )
    # kombu forgets the exchange of a queue that has bindings; Celery publishes by it.
    queue.exchange, queue.routing_key = exchange, context
    return queue
