"""Loads every context's handlers when Django starts, and with them the queues they need."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class EventsConfig(AppConfig):
    name = "shop.events"

    def ready(self) -> None:
        autodiscover_modules("handlers")
        from shop.celery import declare_queues
        from shop.events import (
            metrics,
            reconciler,  # noqa: F401  # registers with the clock
        )

        declare_queues()
        metrics.register()
