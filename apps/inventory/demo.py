"""The products of the demo shop: ten things in five materials."""

from collections.abc import Callable, Iterator
from functools import partial

from apps.inventory import services

# (code, name, price in minor units)
THINGS = [
    ("MUG", "Mug", 900),
    ("BOWL", "Bowl", 1400),
    ("PLATE", "Plate", 1200),
    ("JUG", "Jug", 2600),
    ("LAMP", "Lamp", 7900),
    ("CHAIR", "Chair", 12900),
    ("STOOL", "Stool", 6900),
    ("SHELF", "Shelf", 8900),
    ("TRAY", "Tray", 1900),
    ("CLOCK", "Clock", 4900),
]

# (code, make, percent of the price)
MAKES = [
    ("OAK", "Oak", 100),
    ("ASH", "Ash", 95),
    ("CLAY", "Clay", 80),
    ("STEEL", "Steel", 120),
    ("GLASS", "Glass", 110),
]


def steps() -> Iterator[Callable[[], object]]:
    for number, (code, thing, price) in enumerate(THINGS):
        for make_code, make, percent in MAKES:
            yield partial(
                services.add_product,
                sku=f"{code}-{make_code}",
                name=f"{make} {thing.lower()}",
                description=f"A {thing.lower()} of {make.lower()}.",
                unit_price=price * percent // 100,
                currency="EUR",
                available=100 + 20 * number,
            )
