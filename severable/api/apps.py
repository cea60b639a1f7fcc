"""Names the app for people, and lets the clock know what it has to purge."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "severable.api"
    label = "severable_api"
    verbose_name = "API"

    def ready(self) -> None:
        from severable.api import idempotency, limits  # noqa: F401  # register with the clock
