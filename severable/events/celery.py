"""What a Celery application needs to carry events: a transport, and signs of life."""

from __future__ import annotations

from typing import Any

from celery import Celery, bootsteps

from severable import heartbeat
from severable.events import filesystem  # noqa: F401  # replaces kombu's transport of that name


class Heartbeat(bootsteps.StartStopStep):
    """Has a worker show signs of life to its supervisor."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        worker.timer.call_repeatedly(heartbeat.SECONDS, heartbeat.beat)


def set_up(app: Celery) -> None:
    """Prepare a project's Celery application, and make it the current one."""
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.steps["worker"].add(Heartbeat)
    app.set_default()
