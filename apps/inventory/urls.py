"""The routes of inventory."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from apps.inventory import api


class Sku(StringConverter):
    """A SKU in a path: at most 40 characters, and no NUL, which PostgreSQL cannot compare."""

    regex = r"[^/\0]{1,40}"


register_converter(Sku, "sku")

urlpatterns = [
    path("api/inventory/products", api.Products.as_view()),
    path("api/inventory/products/<sku:sku>", api.OneProduct.as_view()),
    path("api/inventory/products/<sku:sku>/restock", api.RestockProduct.as_view()),
    path("api/inventory/check", api.Check.as_view()),
]
