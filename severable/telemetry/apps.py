"""The app config: it sets up tracing when Django starts."""

from django.apps import AppConfig

from severable.telemetry import tracing


class TelemetryConfig(AppConfig):
    name = "severable.telemetry"
    label = "severable_telemetry"

    def ready(self) -> None:
        tracing.set_up()
