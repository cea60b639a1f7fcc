"""Functions that bring old events to the current meaning of their type.

A contract that grows needs none: fields that are not there have their defaults. If a field comes to
mean something else (euros become cents), the functions of its event say how the data of each
version becomes that of the next:

    UPCASTERS = {"order.OrderPaid": [euros_to_cents]}  # from version 1 to 2; the current one is 2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

UPCASTERS: dict[str, list[Callable[[dict[str, Any]], dict[str, Any]]]] = {}
