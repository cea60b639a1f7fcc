"""The app config: it registers the admins of events, jobs, sagas and idempotency keys."""

from django.apps import AppConfig


class AdminConfig(AppConfig):
    name = "severable.admin"
    label = "severable_admin"

    def ready(self) -> None:
        from severable.admin import api, events, saga  # noqa: F401  # registers the pages
