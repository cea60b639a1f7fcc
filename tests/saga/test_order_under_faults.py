"""The order's saga under every fault that calls can have: money and stock are conserved.

Each example is a schedule of faults, printed where it fails. After them all goes well, as it
does in the end, and the order must be decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.inventory.models import Product, Reservation
from apps.orders import services
from apps.orders.models import Order
from apps.payments.models import LedgerEntry, Payment, Refund, TestCharge
from apps.users.models import User
from severable.errors import OutcomeUnknown
from severable.rpc.server.registry import registry
from severable.saga.models import Saga
from tests.machine import settle

FAULTS = ["fine", "fine", "unheard", "answer lost", "died before", "died after"]
STOCK = 10


class Died(BaseException):
    """The process that drives the saga is no more."""


class Network:
    """Stands between contexts, and spoils calls as scheduled."""

    def __init__(self) -> None:
        self.schedule: list[str] = []

    def spoiled(self) -> dict[str, Any]:
        return {
            method: self._between(registry.find(method).unary_unary)  # type: ignore[union-attr]
            for method in registry.methods
            if "EventFeed" not in method
        }

    def _between(self, behaviour: Any) -> Any:
        def call(request: Any, context: Any) -> Any:
            fault = self.schedule.pop(0) if self.schedule else "fine"
            if fault == "unheard":
                raise OutcomeUnknown("nobody heard")
            if fault == "died before":
                raise Died
            answer = behaviour(request, context)
            if fault == "answer lost":
                raise OutcomeUnknown("nobody answered")
            if fault == "died after":
                raise Died
            return answer

        return call


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    with registry.overridden(network.spoiled()):
        yield network


@contextmanager
def undone_afterwards() -> Iterator[None]:
    """Rolls an example back. To the machine it looks like a test case's own transaction."""
    block = transaction.atomic()
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        yield
        transaction.set_rollback(True)


def decide(order_id: UUID, *, patience_over: bool) -> None:
    """Let time pass until the order's saga has ended."""
    for _ in range(30):
        row = Saga.of("place_order", order_id)
        assert row
        if row.ended:
            break
        past = timezone.now() - timedelta(hours=2 if patience_over else 0, seconds=1)
        Saga.objects.filter(pk=row.pk).update(due_at=past, created_at=past)
        Refund.objects.filter(state="waiting").update(due_at=past)
        mine = Saga.claim(row.pk)
        assert mine
        with suppress(Died):
            mine.attempt()


@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    token=st.sampled_from(["tok_visa", "tok_declined", "tok_unknown"]),
    quantity=st.sampled_from([1, STOCK + 1]),
    cancel=st.booleans(),
    patience_over=st.booleans(),
)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.django_db
def test_every_order_is_paid_or_cleanly_undone(
    alice: User,
    mug: Product,
    network: Network,
    faults: list[str],
    token: str,
    quantity: int,
    cancel: bool,
    patience_over: bool,
) -> None:
    with undone_afterwards():
        order_id = uuid4()
        network.schedule = list(faults)
        with suppress(Died):
            services.place(
                order_id=order_id,
                user_id=alice.id,
                wanted=[("MUG", quantity)],
                method="card",
                token=token,
                wait=True,
            )
        if cancel and Order.objects.get(id=order_id).status in ("pending", "paid"):
            services.cancel(order_id=order_id)
        decide(order_id, patience_over=patience_over)
        network.schedule.clear()
        Refund.objects.filter(state="waiting").update(due_at=timezone.now() - timedelta(seconds=1))
        settle()
        order = Order.objects.get(id=order_id)
        conserved(order, quantity)


def conserved(order: Order, quantity: int) -> None:
    product = Product.objects.get(sku="MUG")
    payment = Payment.objects.filter(order_id=order.id).first()
    charge = TestCharge.objects.filter(key=payment.id).first() if payment else None
    reservation = Reservation.objects.filter(order_id=order.id).first()
    paid = order.status == "paid"
    assert order.status in ("paid", "rejected", "cancelled")
    assert (payment is not None and payment.status == "paid") == paid
    assert (charge is not None and charge.state == "charged") == paid
    assert (reservation is not None and reservation.state in ("held", "sold")) == paid
    assert (product.available, product.held) == (STOCK - quantity if paid else STOCK, 0)
    assert LedgerEntry.objects.aggregate(sum=Sum("amount"))["sum"] in (None, 0)
