"""Ten thousand events, each brought one to five times in any order to two workers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import transaction

from protos.order_pb2 import OrderCreated
from severable.events import delivery, handlers
from severable.events.models import Delivery, Event
from severable.events.store import append, envelope
from severable.jobs.models import Lease
from tests.machine import settle
from tests.threads import together

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(1800),
]

EVENTS = 10_000
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def runs() -> Counter[str]:
    return Counter()


@pytest.fixture
def only(runs: Counter[str]) -> Iterator[handlers.Handler]:
    """The one handler there is: it counts how often it ran for each order."""

    def note(event: OrderCreated) -> None:
        runs[event.order_id] += 1
        Lease.objects.create(name=f"{event.order_id} {random.random()}", expires_at=LONG_AGO)

    made = handlers.Handler("orders.test", "orders", "order.OrderCreated", note, (), batch=True)
    with handlers.overridden(made):
        yield made


def test_each_event_has_one_effect_and_duplicates_were_seen(
    runs: Counter[str], only: handlers.Handler
) -> None:
    """An inbox that lets a duplicate through where two workers hold copies of one event."""
    for first in range(0, EVENTS, 500):
        with transaction.atomic():
            for number in range(first, first + 500):
                append(OrderCreated(order_id=f"o{number}"), stream=f"order-o{number}")
    chance = random.Random(2)
    messages = [envelope(event) for event in Event.objects.all()]
    times = chance.choices(range(1, 6), weights=[8, 4, 2, 1, 1], k=EVENTS)
    copies = [copy for copy, count in zip(messages, times, strict=True) for _ in range(count)]
    chance.shuffle(copies)

    def work(worker: int) -> int:
        mine, refused = copies[worker::2], 0
        while mine:
            size = chance.randint(1, 8)
            batch, mine = mine[:size], mine[size:]
            refused += len(batch) - delivery.handle(batch, only)
        return refused

    duplicates = sum(together(2, work))
    settle()
    effects = Counter(name.split()[0] for name in Lease.objects.values_list("name", flat=True))
    assert effects == {f"o{number}": 1 for number in range(EVENTS)}
    assert Delivery.objects.filter(state="done").count() == EVENTS
    assert duplicates == len(copies) - EVENTS > 0
    assert set(runs) == set(effects)
