"""Subscribes to the events that invalidate cached answers when Django starts."""

from django.apps import AppConfig


class CachingConfig(AppConfig):
    name = "severable.caching"
    label = "severable_caching"

    def ready(self) -> None:
        from severable.caching import reads

        reads.listen()
