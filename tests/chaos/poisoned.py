"""A worker and a relay that have a handler more, which some events are poison for.

`celery -A tests.chaos.poisoned worker -Q notifications` · `python -m tests.chaos.poisoned`
"""

from __future__ import annotations

import os
from uuid import uuid4

from shop.celery import app

__all__ = ["app"]

app.loader.import_default_modules()  # Django, and with it the shop's own handlers

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402

from protos.payment_pb2 import PaymentReceived  # noqa: E402
from severable.events import handlers, queues  # noqa: E402
from severable.events.envelope import type_of  # noqa: E402
from severable.jobs.models import Lease  # noqa: E402
from tests.chaos.poison import ATTEMPTS, CRASH, CURED, LONG_AGO, RAISE  # noqa: E402


def swallow(event: PaymentReceived) -> None:
    """Its effect is a row."""
    if event.payment_id in (CRASH, RAISE) and not (settings.VAR / CURED).exists():
        with (settings.VAR / ATTEMPTS).open("a") as file:
            print(event.payment_id, file=file)
        if event.payment_id == CRASH:
            os._exit(1)
        raise ValueError("poison")
    Lease.objects.create(name=f"{event.payment_id} {uuid4()}", expires_at=LONG_AGO)


handlers.add(
    handlers.Handler(
        "notifications.swallow",
        "notifications",
        type_of(PaymentReceived()),
        swallow,
        (),
        batch=True,
    )
)
queues.declare()  # once more, with what this handler listens to

if __name__ == "__main__":
    call_command("relay")
