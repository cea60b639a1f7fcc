"""The app config: it loads the periodic work of every context when Django starts."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "severable.jobs"
    label = "severable_jobs"
    verbose_name = "jobs"

    def ready(self) -> None:
        autodiscover_modules("periodic")
