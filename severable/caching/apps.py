"""The app config: it subscribes to the events that invalidate cached responses."""

from django.apps import AppConfig


class CachingConfig(AppConfig):
    name = "severable.caching"
    label = "severable_caching"

    def ready(self) -> None:
        from severable.caching import reads

        reads.subscribe()
