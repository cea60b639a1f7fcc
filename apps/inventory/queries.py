"""Reads of products and stock."""

from collections.abc import Iterable

from django.db.models import QuerySet, Sum

from apps.inventory.models import DailySales, Product
from severable.errors import NotFound


class ProductNotFound(NotFound):
    code = "product_not_found"

    def __init__(self, sku: str) -> None:
        super().__init__(f"There is no product {sku!r}.", sku=sku)


def products(skus: Iterable[str] | None = None) -> QuerySet[Product]:
    return Product.objects.all() if skus is None else Product.objects.filter(sku__in=list(skus))


def product(sku: str) -> Product:
    found = Product.objects.filter(sku=sku).first()
    if found is None:
        raise ProductNotFound(sku)
    return found


def stock(wanted: list[tuple[str, int]]) -> list[dict[str, object]]:
    """Return for each line whether there is enough stock. An unknown product has none."""
    available = dict(products(sku for sku, _ in wanted).values_list("sku", "available"))
    return [
        {
            "sku": sku,
            "quantity": quantity,
            "available": available.get(sku, 0),
            "enough": available.get(sku, 0) >= quantity,
        }
        for sku, quantity in wanted
    ]


def totals(daily: QuerySet[DailySales]) -> Iterable[tuple[str, int, int]]:
    """Return the currency, units and revenue of some daily sales together, by currency."""
    return (
        daily.order_by("currency")
        .values("currency")
        .annotate(units=Sum("units"), revenue=Sum("revenue"))
        .values_list("currency", "units", "revenue")
    )
