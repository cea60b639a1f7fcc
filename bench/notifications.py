"""What bench/events.py has done by workers: a handler of the context that this file is named after,
and a bare Celery task beside it. `celery -A bench.notifications worker`."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from celery import shared_task  # noqa: E402

from protos.payment_pb2 import PaymentReceived  # noqa: E402
from severable.events import on, queues  # noqa: E402
from shop.celery import app  # noqa: E402

__all__ = ["app"]

app.loader.import_default_modules()  # Django, and with it the shop's own handlers


@on(PaymentReceived, batch=True)
def nothing(event: PaymentReceived) -> None:
    """A handler that costs nothing: what is measured is the way to it."""


@shared_task
def empty() -> None:
    """The same for Celery."""


queues.declare()  # once more, with what this handler listens to
