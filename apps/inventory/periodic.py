"""Inventory's periodic work."""

from apps.inventory import services
from severable.jobs import periodic

periodic(seconds=60)(services.expire_reservations)
