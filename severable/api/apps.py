"""The app config: its display name, and its periodic tasks, which purge old rows."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "severable.api"
    label = "severable_api"
    verbose_name = "API"

    def ready(self) -> None:
        from severable.api import idempotency, limits  # noqa: F401  # register periodic tasks
