"""Rows of every model, by the dozen, for counting the queries of a page."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import Model
from django.utils import timezone

from apps.inventory.models import (
    DailySales,
    Product,
    Reservation,
    ReservedLine,
    Restock,
    Sale,
)
from apps.notifications.models import Notification
from apps.orders.models import Order, OrderLine, Parcel
from apps.payments.models import LedgerEntry, Payment, Refund, TestCharge
from apps.users.models import CreditEntry, Preferences, Session, User
from severable.api.models import Attempts, IdempotencyKey
from severable.events.models import (
    Delivery,
    Event,
    MalformedMessage,
    RefusedEvent,
    RelayPosition,
    Subscription,
    TransactionOffset,
)
from severable.jobs.models import Lease
from severable.saga.models import Saga, SagaLog

NOW = timezone.now()


def user(n: int) -> User:
    return User.objects.create(username=f"u{n}", name=f"U {n}", email=f"u{n}@example.com")


def product(n: int) -> Product:
    return Product.objects.create(sku=f"P{n}", name=f"P {n}", unit_price=n)


def daily(n: int) -> DailySales:
    return DailySales.objects.create(day=NOW.date(), sku=f"P{n}", currency="EUR")


def sale(n: int) -> Sale:
    return Sale.objects.create(order_id=UUID(int=n), daily=daily(n), units=n, revenue=n)


def order(n: int) -> Order:
    return Order.objects.create(user_id=n, status="rejected", total=n, currency="EUR")


def payment(n: int) -> Payment:
    return Payment.objects.create(order_id=UUID(int=n), user_id=n, amount=n, currency="EUR")


def saga(n: int) -> Saga:
    return Saga.objects.create(name="place_order", key=UUID(int=n), correlation_id=f"c{n}")


def event(n: int, stream: str = "") -> Event:
    return Event.objects.create(
        transaction_id=0,
        source="orders",
        stream=stream or f"s{n}",
        version=n,
        type="order.OrderPaid",
        data={},
        correlation_id=f"c{n}",
    )


def delivery(n: int) -> Delivery:
    return Delivery.objects.create(
        event_id=UUID(int=n), handler="orders.give_back", context="orders", stream="s", event={}
    )


def session(n: int) -> Session:
    return Session.objects.create(user=user(n), token_id="", expires_at=NOW)


def key(n: int) -> IdempotencyKey:
    return IdempotencyKey.objects.create(caller="user-1", key=f"k{n}", locked_until=NOW)


def log(n: int) -> SagaLog:
    return SagaLog.objects.create(saga=saga(n), step="stock", action="execute", outcome="done")


def notification(n: int) -> Notification:
    return Notification.objects.create(user_id=n, kind="k", subject="s", order_id=UUID(int=n))


MAKE: dict[type[Model], Callable[[int], Model]] = {
    User: user,
    Preferences: lambda n: Preferences.objects.create(user=user(n)),
    CreditEntry: lambda n: CreditEntry.objects.create(key=f"k{n}", user=user(n), amount=n),
    Session: session,
    Group: lambda n: Group.objects.create(name=f"g{n}"),
    Product: product,
    Reservation: lambda n: Reservation.objects.create(order_id=UUID(int=n)),
    Restock: lambda n: Restock.objects.create(key=UUID(int=n), product=product(n), quantity=n),
    DailySales: daily,
    Sale: sale,
    Payment: payment,
    Refund: lambda n: Refund.objects.create(payment=payment(n)),
    LedgerEntry: lambda n: LedgerEntry.objects.create(payment=payment(n), amount=n),
    TestCharge: lambda n: TestCharge.objects.create(key=UUID(int=n), state="charged"),
    Order: order,
    Parcel: lambda n: Parcel.objects.create(order=order(n), name="P"),
    Notification: notification,
    Event: event,
    Delivery: delivery,
    Subscription: lambda n: Subscription.objects.create(handler=f"h{n}"),
    RefusedEvent: lambda n: RefusedEvent.objects.create(event_id=UUID(int=n), type="t", stream="s"),
    MalformedMessage: lambda n: MalformedMessage.objects.create(
        queue="orders", body="{", headers={}, error=f"e{n}"
    ),
    RelayPosition: lambda n: RelayPosition.objects.create(name=f"r{n}"),
    TransactionOffset: lambda n: TransactionOffset.objects.create(  # the row 1 is the real one
        id=1000 + n, server=f"s{n}", value=n
    ),
    Saga: saga,
    SagaLog: log,
    Lease: lambda n: Lease.objects.create(name=f"l{n}", holder="me", expires_at=NOW),
    IdempotencyKey: key,
    Attempts: lambda n: Attempts.objects.create(key=f"account a{n}", ends_at=NOW),
}


def line(of: Order, n: int) -> None:
    OrderLine.objects.create(order=of, sku=f"P{n}", quantity=n, unit_price=n)
    event(n, of.stream)


def reserved(of: Reservation, n: int) -> None:
    ReservedLine.objects.create(reservation=of, product=product(n), quantity=n, unit_price=n)


def entry(of: Payment, n: int) -> None:
    LedgerEntry.objects.create(payment=of, account="sales", amount=n, currency="EUR")


def logged(of: Saga, n: int) -> None:
    SagaLog.objects.create(saga=of, step="stock", action="execute", outcome="done")


GROW = [(order, line), (MAKE[Reservation], reserved), (payment, entry), (saga, logged)]
