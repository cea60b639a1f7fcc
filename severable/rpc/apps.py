"""The app config: it loads every context's servicers when Django starts."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class RpcConfig(AppConfig):
    name = "severable.rpc"
    label = "severable_rpc"

    def ready(self) -> None:
        autodiscover_modules("rpc")
