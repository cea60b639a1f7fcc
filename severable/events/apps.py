"""The app config: it loads the handlers of all contexts and declares their queues."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class EventsConfig(AppConfig):
    name = "severable.events"
    label = "severable_events"
    verbose_name = "events"

    def ready(self) -> None:
        autodiscover_modules("handlers")
        from severable.events import metrics, queues, reconciler  # noqa: F401  # registers with the scheduler

        queues.declare()
        metrics.register()
