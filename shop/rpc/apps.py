"""Loads every context's servicers when Django starts, and listens to what ends cached answers."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class RpcConfig(AppConfig):
    name = "shop.rpc"

    def ready(self) -> None:
        autodiscover_modules("rpc")
        from shop.rpc import cached

        cached.listen()
