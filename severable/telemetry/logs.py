"""Log lines with the correlation id of the request that caused them."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from severable.telemetry import correlation

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Correlated(logging.Filter):
    """A filter that adds the correlation's id to every record; "-" if there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        why = correlation.active()
        record.correlation = why.id if why else "-"
        return True


def configuration(level: str) -> dict[str, Any]:
    """Return Django's LOGGING. The level defaults to INFO, and to WARNING for Celery.

    Raises ImproperlyConfigured for a level that does not exist.
    """
    if level and level not in LEVELS:
        raise ImproperlyConfigured(f"LOG_LEVEL is {level!r}; there is: {', '.join(LEVELS)}")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": "%(asctime)s %(levelname)s %(name)s %(correlation)s %(message)s"}
        },
        "filters": {"correlation": {"()": "severable.telemetry.logs.Correlated"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["correlation"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level or "INFO"},
        "loggers": {
            "celery": {"level": level or "WARNING"},
            "kombu": {"level": "ERROR"},
            "django.request": {"level": "ERROR"},
        },
    }
