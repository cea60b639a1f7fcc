"""Template tags of the storefront: amounts and pictures."""

from django import template

from apps.gateway.storefront import catalog
from severable.admin import money as formatted

register = template.Library()


@register.filter
def money(amount: int | None, currency: str) -> str:
    """Return an amount in minor units as text, such as "18.00 EUR"."""
    return "" if amount is None else formatted(amount, currency)


@register.filter
def picture(sku: str) -> str:
    """Return the URL of a product's picture."""
    return catalog.picture(sku)
