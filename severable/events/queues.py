"""The broker's topology: one topic exchange, and one durable queue per context.

A message is routed to the queue of every context that has a handler for its type.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from celery import current_app
from django.conf import settings
from kombu import Exchange, Queue, binding

from severable import project
from severable.events import handlers, malformed

EVENTS = f"{project.name()}.events"
WEEK = 7 * 24 * 3600 * 1000  # milliseconds


class ContextQueue(Queue):
    """A queue that adds its name to the messages' headers, and stores malformed messages.

    A message reaches the queues of several contexts, and a worker may consume several queues; only
    the queue of a copy tells whose handlers it is for. Celery would log and drop a malformed
    message.
    """

    def consume(
        self, consumer_tag: str = "", callback: Any = None, *args: Any, **options: Any
    ) -> Any:
        def received(raw: Any) -> None:
            raw.headers["queue"] = self.name
            channel: Any = self.channel
            message = channel.message_to_python(raw)
            problem = _problem(message)
            if problem is None:
                callback(raw)
            else:
                malformed.park(self.name, message.body, message.headers, problem)
                message.ack()

        return super().consume(consumer_tag, cast(Any, received), *args, **options)

    def declare(self, nowait: bool = False, channel: Any = None) -> Any:
        dead = (self.queue_arguments or {}).get("x-dead-letter-exchange")
        if dead:
            _dead_letters(dead)(channel or self.channel).declare()
        return super().declare(nowait, channel)


def _problem(message: Any) -> str | None:
    try:
        message.accept = {"application/json"}
        message.decode()
    except Exception as error:  # bytes can make the decoder raise anything
        return f"{type(error).__name__}: {error}"
    task = message.headers.get("task")
    return None if task in current_app.tasks else f"there is no task {task!r}"


def _dead_letters(name: str) -> Queue:
    """Return the queue of messages that RabbitMQ has delivered too often, kept for inspection for a
    while. No event is lost with them: their deliveries are parked."""
    return Queue(
        name,
        exchange=Exchange(name, type="fanout", durable=True),
        durable=True,
        queue_arguments={"x-queue-type": "quorum", "x-max-length": 10_000, "x-message-ttl": WEEK},
    )


def context_queues(contexts: Iterable[str], arguments: dict[str, Any]) -> list[Queue]:
    """Return the contexts' queues, each bound to its handlers' event types, and to its own name for
    messages to this context only."""
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
    # kombu drops the exchange of a queue that has bindings; Celery publishes by it.
    queue.exchange, queue.routing_key = exchange, context
    return queue


def declare() -> None:
    """Configure the current Celery application with a queue for each context that runs here.

    Call it after all handlers are registered.
    """
    current_app.conf.task_queues = context_queues(
        settings.DEPLOYMENT.queues, settings.QUEUE_ARGUMENTS
    )
