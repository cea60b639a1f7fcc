"""The Celery application's parts for events: a transport, a heartbeat, and the names of workers."""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import Celery, bootsteps
from celery.signals import celeryd_init
from celery.worker import consumer
from django.conf import settings

from severable import heartbeat
from severable.config.environment import load_settings
from severable.events import filesystem  # noqa: F401  # replaces kombu's transport of that name


class Heartbeat(bootsteps.StartStopStep):
    """Beat in the loop that receives tasks, to show that the worker can receive them.

    While the broker is down there is no such loop, and a restart would not help: then the timer's
    own thread beats.
    """

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        worker.timer.call_repeatedly(heartbeat.SECONDS, self.beat, (worker,))

    def beat(self, worker: Any) -> None:
        consumer = getattr(worker, "consumer", None)
        if consumer and consumer.connection:
            consumer.call_soon(heartbeat.beat)
        else:
            heartbeat.beat()


class Consumer(consumer.Consumer):
    """Celery's consumer without the 28 queues and exchanges for tasks with an ETA: there are none.

    `worker_detect_quorum_queues = False` would also turn off what quorum queues need.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc,valid-type]
        default_steps = [
            step
            for step in consumer.Consumer.Blueprint.default_steps
            if not step.endswith(":DelayedDelivery")
        ]


@celeryd_init.connect
def name_worker(instance: Any, **kwargs: Any) -> None:
    """Name a worker that has no name of its own (`-n`) after its deployment and process.

    A worker's queue for remote control is exclusive and has its name: by Celery's default a second
    worker on a machine could not start.
    """
    host = socket.gethostname()
    if instance.hostname == f"celery@{host}":
        instance.hostname = f"{settings.DEPLOYMENT.name}-{os.getpid()}@{host}"


def set_up(app: Celery) -> None:
    """Configure a project's Celery application and make it the current one."""
    load_settings()
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.steps["worker"].add(Heartbeat)
    app.set_default()
