"""Events in the store, for tests of what looks at them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from protos.order_pb2 import OrderCreated
from severable.events.models import Delivery, Event
from severable.events.store import append


def recorded(count: int, message: Any = OrderCreated) -> list[Event]:
    """So many, each in a stream of its own."""
    with transaction.atomic():
        return [append(message(order_id=f"o{n}"), stream=f"o{n}") for n in range(count)]


def older(by: timedelta) -> None:
    """All events and deliveries have been there for so much longer."""
    Event.objects.update(recorded_at=F("recorded_at") - by)
    Delivery.objects.update(received_at=F("received_at") - by)
