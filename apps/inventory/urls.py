"""The addresses of inventory."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from apps.inventory import api


class Sku(StringConverter):
    """No longer than a SKU may be, and without the NUL that PostgreSQL refuses to compare."""

    regex = r"[^/\0]{1,40}"


register_converter(Sku, "sku")

urlpatterns = [
    path("api/inventory/products", api.Products.as_view()),
    path("api/inventory/products/<sku:sku>", api.OneProduct.as_view()),
    path("api/inventory/products/<sku:sku>/restock", api.RestockProduct.as_view()),
    path("api/inventory/check", api.Check.as_view()),
]
