"""The Celery application: `celery -A shop worker -Q orders`."""

from typing import Any

from celery import Celery, bootsteps
from celery.worker import consumer
from django.conf import settings

from shop import heartbeat
from shop.environment import load_settings
from shop.events import filesystem  # noqa: F401  # replaces kombu's transport of that name

load_settings()

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


class Heartbeat(bootsteps.StartStopStep):
    """Shows that a worker can take tasks: the loop that takes them beats.

    While the broker is away there is no such loop, and a restart would not help: then the timer
    beats, which runs in a thread of its own.
    """

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        worker.timer.call_repeatedly(heartbeat.SECONDS, self.beat, (worker,))

    def beat(self, worker: Any) -> None:
        taking = getattr(worker, "consumer", None)
        if taking and taking.connection:
            taking.call_soon(heartbeat.beat)
        else:
            heartbeat.beat()


app.steps["worker"].add(Heartbeat)


class Consumer(consumer.Consumer):
    """Celery's, without 28 queues and exchanges for tasks with an ETA, of which there are none.

    `worker_detect_quorum_queues = False` would also turn off what quorum queues need.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc,valid-type]
        default_steps = [
            step
            for step in consumer.Consumer.Blueprint.default_steps
            if not step.endswith(":DelayedDelivery")
        ]


def declare_queues() -> None:
    """One queue for each context of this deployment. Called once all handlers are known."""
    from shop.events.queues import context_queues

    app.conf.task_queues = context_queues(settings.DEPLOYMENT.queues, settings.QUEUE_ARGUMENTS)
