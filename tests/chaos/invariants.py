"""What must hold of orders, money, stock and mails, whatever happened; read from the databases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import models

from apps.inventory.models import Product
from apps.notifications.models import Notification
from apps.orders.models import Order, OrderLine
from apps.payments.models import LedgerEntry, Payment, TestCharge
from apps.users.models import User
from severable.events.models import Event

CHARGED, RETURNED = ("paid", "shipped"), ("rejected", "cancelled")
UNPAID = ("none", "declined", "refunded")
READ: dict[type[models.Model], tuple[str, ...]] = {
    Order: ("id", "status", "total", "user_id"),
    OrderLine: ("order_id", "sku", "quantity"),
    Payment: ("order_id", "status", "method", "id"),
    TestCharge: ("key", "state"),
    LedgerEntry: ("account", "amount", "currency"),
    Product: ("sku", "available", "held"),
    User: ("id", "credit"),
    Notification: ("order_id", "kind"),
    Event: ("stream", "type"),
}

Rows = dict[type[models.Model], list[Any]]
Reader = Callable[[type[models.Model], tuple[str, ...]], Iterable[Any]]


def everything(readers: Iterable[Reader]) -> Rows:
    """All that is compared, from each of a shop's databases."""
    rows: Rows = defaultdict(list)
    for read in readers:
        for model, columns in READ.items():
            rows[model] += read(model, columns)
    return rows


def plain(identifier: Any) -> str:
    """An id as every database and the API have it."""
    return str(identifier).replace("-", "")


def violations(before: Rows, found: Rows) -> Iterator[str]:
    """Every promise that was broken since `before`, when there was no order."""
    orders = {plain(i): (status, total or 0, u) for i, status, total, u in found[Order]}
    payments = {plain(o): (status, method, plain(i)) for o, status, method, i in found[Payment]}
    kept = {order: one for order, one in orders.items() if one[0] in CHARGED}
    for order, (status, _, _) in orders.items():
        if status not in CHARGED + RETURNED:
            yield f"order {order} is {status}"
    yield from _payments(found, orders, payments)
    yield from _stock(before, found, kept)
    yield from _ledger(found, kept)
    yield from _credit(before, found, kept, payments)
    yield from _mails(found)


def lost_or_doubled(placed: set[str], found: Rows) -> Iterator[str]:
    """What was answered and is not there, or is there and was answered to nobody."""
    there = {plain(row[0]) for row in found[Order]}
    yield from (f"order {order} is lost" for order in placed - there)
    yield from (f"order {order} was placed twice" for order in there - placed)


def _payments(found: Rows, orders: Any, payments: Any) -> Iterator[str]:
    charged = {plain(key) for key, state in found[TestCharge] if state == "charged"}
    owed = set()
    for order, (status, _, _) in orders.items():
        paid, method, payment = payments.get(order, ("none", "", ""))
        if status in CHARGED and method == "card":
            owed.add(payment)
        if paid not in (("paid",) if status in CHARGED else UNPAID):
            yield f"order {order} is {status}, its payment {paid}"
    if charged != owed:
        yield f"charged without being owed: {charged - owed}, the reverse: {owed - charged}"


def _stock(before: Rows, found: Rows, kept: Any) -> Iterator[str]:
    gone = Counter[str]()
    for order, sku, quantity in found[OrderLine]:
        gone[sku] += quantity if plain(order) in kept else 0
    stock = {sku: (available, held) for sku, available, held in found[Product]}
    for sku, was, _ in before[Product]:
        if stock[sku] != (was - gone[sku], 0):
            yield f"{sku}: {was} were there, {stock[sku]} are, {gone[sku]} are gone"


def _ledger(found: Rows, kept: Any) -> Iterator[str]:
    sums = Counter[str]()
    for _, amount, currency in found[LedgerEntry]:
        sums[currency] += amount
    if any(sums.values()):
        yield f"the ledger's sums are {sums}"
    sales = -sum(amount for account, amount, _ in found[LedgerEntry] if account == "sales")
    if sales != (owed := sum(total for _, total, _ in kept.values())):
        yield f"sales are {sales} for orders of {owed}"


def _credit(before: Rows, found: Rows, kept: Any, payments: Any) -> Iterator[str]:
    spent = Counter[int]()
    for order, (_, total, user) in kept.items():
        if payments.get(order, ("", ""))[1] == "credit":
            spent[user] += total
    credit = dict(found[User])
    for user, was in before[User]:
        if credit[user] != was - spent[user]:
            yield f"user {user} had {was}, spent {spent[user]}, has {credit[user]}"


def _mails(found: Rows) -> Iterator[str]:
    mails = Counter((plain(order), kind) for order, kind in found[Notification] if order)
    told = Counter(
        (plain(stream.removeprefix("order-")), kind)
        for stream, kind in found[Event]
        if kind.startswith("order.")
    )
    for one in mails.keys() | told.keys():
        if (mails[one], told[one]) != (1, 1):
            yield f"{one}: {told[one]} events, {mails[one]} mails"
