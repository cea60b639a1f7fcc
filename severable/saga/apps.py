"""The app config: it imports every context's sagas, so that each can be resumed by its name."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SagaConfig(AppConfig):
    name = "severable.saga"
    label = "severable_saga"
    verbose_name = "sagas"

    def ready(self) -> None:
        from severable.saga import driver  # noqa: F401  # registers the executor

        autodiscover_modules("saga")
