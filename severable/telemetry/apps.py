"""Switches tracing on when Django starts."""

from django.apps import AppConfig

from severable.telemetry import tracing


class TelemetryConfig(AppConfig):
    name = "severable.telemetry"

    def ready(self) -> None:
        tracing.set_up()
