"""Refuses to start without required settings, and finds the system checks of every app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from severable.config.environment import refuse_missing


class SeverableConfig(AppConfig):
    name = "severable"

    def ready(self) -> None:
        refuse_missing()
        autodiscover_modules("checks")
