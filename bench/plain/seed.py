"""The tables, customer and products that the plain monolith starts with: `-m bench.plain.seed`."""

from __future__ import annotations

import os

import django
from django.core.management import call_command

PRODUCTS = 50


def main() -> None:
    """Create the tables, the customer alice (password demo) and the products."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.plain.settings")
    django.setup()
    from django.contrib.auth.models import User

    from bench.plain.store.models import Product

    call_command("migrate", verbosity=0)
    if User.objects.exists():
        return
    User.objects.create_user("alice", "alice@example.com", "demo", first_name="Alice")
    Product.objects.bulk_create(
        Product(sku=f"MUG-{n}", name=f"Mug {n}", description="A mug.", unit_price=900)
        for n in range(PRODUCTS)
    )


if __name__ == "__main__":
    main()
