"""Commands on products and stock."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.inventory.models import (
    DailySales,
    Product,
    Reservation,
    ReservedLine,
    Restock,
    Sale,
)
from apps.inventory.queries import ProductNotFound
from protos import inventory_pb2 as pb
from protos.order_pb2 import Line
from severable.errors import Conflict, DomainError, Invalid
from severable.events import append
from severable.rows import insert_new, set_related

# Longer than any order takes to be paid or rejected: only a safety net.
HOLD = timedelta(hours=24)

# One statement takes the stock and returns the price at which it was taken.
TAKE = """
    UPDATE "inventory_product"
    SET available = available - %(quantity)s, held = held + %(quantity)s
    WHERE sku = %(sku)s AND available >= %(quantity)s
    RETURNING sku, unit_price, currency"""

State = Reservation.State
Wanted = list[tuple[str, int]]


class UnknownProduct(Invalid):
    code = "unknown_product"

    def __init__(self, index: int, sku: str) -> None:
        super().__init__(f"There is no product {sku!r}.", field=f"items[{index}].sku", sku=sku)


class MixedCurrencies(Invalid):
    code = "mixed_currencies"


class InsufficientStock(Conflict):
    code = "insufficient_stock"

    def __init__(self, short: list[tuple[str, int, int]]) -> None:
        wants = ", ".join(f"{sku}: {wanted} wanted, {left} left" for sku, wanted, left in short)
        super().__init__(f"There is not enough stock ({wants}).", sku=short[0][0])


class ShelfFull(Conflict):
    code = "shelf_full"

    def __init__(self, sku: str) -> None:
        super().__init__(f"There is no room for so many of {sku!r}.", sku=sku)


class ReservationEnded(Conflict):
    code = "reservation_ended"

    def __init__(self, state: str) -> None:
        super().__init__(f"The reservation of this order has been {state}.")


@transaction.atomic
def add_product(
    *, sku: str, name: str, description: str, unit_price: int, currency: str, available: int
) -> Product:
    """Add a product, or change its name, description and price. Only restocking changes the stock
    of a product that exists."""
    details = {
        "name": name,
        "description": description,
        "unit_price": unit_price,
        "currency": currency,
    }
    known = Product.objects.select_for_update().filter(sku=sku).first()
    if known and all(getattr(known, field) == value for field, value in details.items()):
        return known
    product, created = Product.objects.update_or_create(
        sku=sku, defaults=details, create_defaults=details | {"available": available}
    )
    append(
        pb.ProductChanged(sku=sku, name=name, unit_price=unit_price, currency=currency),
        stream=product.stream,
    )
    if created and available:
        append(_restocked(product, available), stream=product.stream)
    return product


@transaction.atomic
def restock(*, key: UUID, sku: str, quantity: int) -> Product:
    """Add to a product's stock."""
    product = Product.objects.select_for_update().filter(sku=sku).first()
    if product is None:
        raise ProductNotFound(sku)
    if not Restock.objects.filter(key=key).exists():
        if product.available + product.held + quantity > Product.MAX_STOCK:
            raise ShelfFull(sku)
        Restock.objects.create(key=key, product=product, quantity=quantity)
        product.available += quantity
        product.save(update_fields=["available", "updated_at"])
        append(_restocked(product, quantity), stream=product.stream)
    return product


@transaction.atomic
def reserve(*, order_id: UUID, wanted: Wanted) -> Reservation:
    """Reserve stock for an order: all lines or none. Raises UnknownProduct, MixedCurrencies,
    InsufficientStock. A repeated call returns the same reservation, even if its products have
    changed, or raises ReservationEnded."""
    reservation = Reservation(order_id=order_id, expires_at=timezone.now() + HOLD)
    if not insert_new(reservation):
        return _known(order_id)
    products = _take(wanted)
    if len({product.currency for product in products.values()}) > 1:
        raise MixedCurrencies("One order cannot mix currencies.", field="items")
    lines = ReservedLine.objects.bulk_create(
        ReservedLine(
            reservation=reservation,
            product=products[sku],
            quantity=quantity,
            unit_price=products[sku].unit_price,
            currency=products[sku].currency,
        )
        for sku, quantity in wanted
    )
    set_related(reservation, "lines", lines)
    append(
        pb.StockReserved(
            order_id=str(order_id),
            lines=priced(reservation),
            total=reservation.total,
            currency=reservation.currency,
        ),
        stream=reservation.stream,
    )
    return reservation


@transaction.atomic
def release(*, order_id: UUID) -> None:
    """Return the stock that is held or sold for an order. A later reservation of the order fails
    with ReservationEnded."""
    reservation, created = Reservation.objects.select_for_update().get_or_create(
        order_id=order_id, defaults={"state": State.RELEASED}
    )
    if created or reservation.state == State.RELEASED:
        return
    if reservation.state == State.EXPIRED:  # returned already, but a late sale must not take it
        Reservation.objects.filter(order_id=order_id).update(state=State.RELEASED)
        return
    _return_stock(reservation, State.RELEASED)
    append(
        pb.StockReleased(order_id=str(order_id), lines=_lines(reservation)),
        stream=reservation.stream,
    )


@transaction.atomic
def sell(*, order_id: UUID) -> None:
    """Sell the stock that is held for a paid order. If the reservation has expired, the stock is
    taken again. Raises InsufficientStock."""
    reservation = Reservation.objects.select_for_update().get(order_id=order_id)
    if reservation.state in (State.SOLD, State.RELEASED):
        return
    if reservation.state == State.EXPIRED:
        _take([(line.product_id, line.quantity) for line in reservation.lines.all()])
    for line in _sorted(reservation):
        Product.objects.filter(sku=line.product_id).update(held=F("held") - line.quantity)
    Reservation.objects.filter(order_id=order_id).update(state=State.SOLD)
    append(
        pb.StockSold(order_id=str(order_id), lines=_lines(reservation)), stream=reservation.stream
    )


def expire_reservations() -> None:
    """Return the stock of reservations that are older than HOLD."""
    late = Reservation.objects.filter(state=State.HELD, expires_at__lt=timezone.now())
    for order_id in late.values_list("order_id", flat=True)[:500]:
        with transaction.atomic():
            reservation = Reservation.objects.select_for_update().get(order_id=order_id)
            if reservation.state == State.HELD:
                _return_stock(reservation, State.EXPIRED)
                append(
                    pb.ReservationExpired(order_id=str(order_id), lines=_lines(reservation)),
                    stream=reservation.stream,
                )


def count_sale(*, order_id: UUID, day: date, currency: str, lines: Iterable[Line]) -> None:
    """Add a paid order to the daily sales, unless it is counted already."""
    for line in sorted(lines, key=lambda line: line.sku):
        daily, _ = DailySales.objects.get_or_create(day=day, sku=line.sku, currency=currency)
        part = {"units": line.quantity, "revenue": line.quantity * line.unit_price}
        _, new = Sale.objects.get_or_create(order_id=order_id, daily=daily, defaults=part)
        if new:
            _add(daily.pk, **part)


def uncount_sale(*, order_id: UUID) -> None:
    """Subtract a cancelled order from the daily sales, if it is counted."""
    for sale in Sale.objects.filter(order_id=order_id).order_by("daily__sku"):
        sale.delete()
        _add(sale.daily_id, units=-sale.units, revenue=-sale.revenue)


def _add(daily: int, units: int, revenue: int) -> None:
    found = DailySales.objects.filter(pk=daily)
    found.update(units=F("units") + units, revenue=F("revenue") + revenue)


def priced(reservation: Reservation) -> list[pb.PricedLine]:
    return [
        pb.PricedLine(sku=line.product_id, quantity=line.quantity, unit_price=line.unit_price)
        for line in reservation.lines.all()
    ]


def _known(order_id: UUID) -> Reservation:
    reservation = Reservation.objects.select_for_update().get(order_id=order_id)
    if reservation.state in (State.RELEASED, State.EXPIRED):
        raise ReservationEnded(reservation.state)
    return reservation


def _take(wanted: Wanted) -> dict[str, Product]:
    """Move stock from `available` to `held`, and return the products with their prices. Raises
    UnknownProduct, InsufficientStock."""
    # In the order of SKUs: two orders with the same products do not deadlock.
    products = {
        sku: product
        for sku, quantity in sorted(wanted)
        for product in Product.objects.raw(TAKE, {"sku": sku, "quantity": quantity})
    }
    if len(products) < len(wanted):
        raise _shortage(wanted, products)
    return products


def _shortage(wanted: Wanted, taken: Mapping[str, Product]) -> DomainError:
    skus = [sku for sku, _ in wanted]
    left = dict(Product.objects.filter(sku__in=skus).values_list("sku", "available"))
    for index, sku in enumerate(skus):
        if sku not in left:
            return UnknownProduct(index, sku)
    short = [(sku, quantity, left[sku]) for sku, quantity in sorted(wanted) if sku not in taken]
    return InsufficientStock(short)


def _return_stock(reservation: Reservation, state: str) -> None:
    held = F("held") if reservation.state == State.SOLD else None
    for line in _sorted(reservation):
        Product.objects.filter(sku=line.product_id).update(
            available=F("available") + line.quantity,
            held=held or F("held") - line.quantity,
        )
    Reservation.objects.filter(order_id=reservation.order_id).update(state=state)


def _sorted(reservation: Reservation) -> Iterable[ReservedLine]:
    return sorted(reservation.lines.all(), key=lambda line: line.product_id)


def _lines(reservation: Reservation) -> list[pb.Line]:
    return [
        pb.Line(sku=line.product_id, quantity=line.quantity) for line in reservation.lines.all()
    ]


def _restocked(product: Product, quantity: int) -> pb.ProductRestocked:
    return pb.ProductRestocked(sku=product.sku, quantity=quantity, available=product.available)
