"""The Celery application: `celery -A shop worker -Q orders`."""

from typing import Any

from celery import Celery, bootsteps
from django.conf import settings

from shop import heartbeat
from shop.environment import load_settings
from shop.events import filesystem  # noqa: F401  # replaces kombu's transport of that name

load_settings()

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


class Heartbeat(bootsteps.StartStopStep):
    """Has a worker show signs of life to its supervisor."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        worker.timer.call_repeatedly(heartbeat.SECONDS, heartbeat.beat)


app.steps["worker"].add(Heartbeat)


def declare_queues() -> None:
    """One queue for each context of this deployment. Called once all handlers are known."""
    from shop.events.queues import context_queues

    app.conf.task_queues = context_queues(settings.DEPLOYMENT.queues, settings.QUEUE_ARGUMENTS)
