"""The configuration of the app."""

from __future__ import annotations

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "bench.plain.store"
    label = "store"
