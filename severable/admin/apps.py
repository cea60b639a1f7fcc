"""The app configs: the admin's site, and the pages of events, jobs, sagas and idempotency keys."""

from django.apps import AppConfig
from django.contrib.admin import apps


class DjangoAdminConfig(apps.AdminConfig):
    default = False  # of this module
    default_site = "severable.admin.front.Site"


class AdminConfig(AppConfig):
    name = "severable.admin"
    label = "severable_admin"

    def ready(self) -> None:
        from severable.admin import api, events, saga  # noqa: F401  # registers the pages
