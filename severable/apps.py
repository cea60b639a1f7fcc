"""Finds the system checks of every app when Django starts."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SeverableConfig(AppConfig):
    name = "severable"

    def ready(self) -> None:
        autodiscover_modules("checks")
