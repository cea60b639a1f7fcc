"""Switches tracing on when Django starts."""

from django.apps import AppConfig

from shop.telemetry import tracing


class TelemetryConfig(AppConfig):
    name = "shop.telemetry"

    def ready(self) -> None:
        tracing.set_up()
