"""What bench/events.py has done by workers: a handler of the context that this file is named after,
and a bare Celery task beside it. `celery -A bench.notifications worker`."""

from __future__ import annotations

from celery import shared_task

from protos.payment_pb2 import PaymentReceived
from severable.events import queues
from severable.events.handlers import on
from shop.celery import app

__all__ = ["app"]

app.loader.import_default_modules()  # Django, and with it the shop's own handlers


@on(PaymentReceived)
def nothing(event: PaymentReceived) -> None:
    """A handler that costs nothing: what is measured is the way to it."""


@shared_task
def empty() -> None:
    """The same for Celery."""


queues.declare()  # once more, with what this handler listens to
