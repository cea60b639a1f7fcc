"""The Celery application: `celery -A shop worker -Q orders`."""

import os

from celery import Celery
from django.conf import settings

from shop.events import filesystem  # noqa: F401  # replaces kombu's transport of that name

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


def declare_queues() -> None:
    """One queue for each context of this deployment. Called once all handlers are known."""
    from shop.events.queues import context_queues

    app.conf.task_queues = context_queues(settings.DEPLOYMENT.queues, settings.QUEUE_ARGUMENTS)
