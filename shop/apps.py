"""Finds the system checks of every app when Django starts."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        autodiscover_modules("checks")
