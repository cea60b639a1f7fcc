"""Checks of `manage.py check --deploy`: settings that are not fit for production."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.checks.security.base import (
    SECRET_KEY_INSECURE_PREFIX,
    SECRET_KEY_MIN_LENGTH,
    SECRET_KEY_MIN_UNIQUE_CHARACTERS,
)
from django.db import connection

from severable.api import key_ring as keys


@register(Tags.security, deploy=True)
def secrets(**kwargs: Any) -> list[CheckMessage]:
    """Report secrets that can be guessed, and keys that cannot sign."""
    given = {
        "SECRET_KEY": [settings.SECRET_KEY],
        "SERVICE_KEY": [settings.SERVICE_KEY],
        "SERVICE_KEY_FALLBACKS": settings.SERVICE_KEY_FALLBACKS,
    }
    found: list[CheckMessage] = [
        Error(
            f"{name} can be guessed: it needs {SECRET_KEY_MIN_LENGTH} random characters",
            hint="`python -m severable.keys --env` prints new secrets.",
            id="severable.E001",
        )
        for name, values in given.items()
        if any(map(_weak, values))
    ]
    wrong = keys.complaint()
    return (
        [*found, Error(wrong, hint="`manage.py jwks --new`", id="severable.E002")]
        if wrong
        else found
    )


@register(Tags.security, deploy=True)
def servers(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report servers that only the processes of one machine share."""
    if connection.vendor == "sqlite":
        yield Error("DATABASE_URL: SQLite is for development", id="severable.E003")
    if settings.EMBEDDED_BROKER:
        yield Error("BROKER_URL: a folder as the broker is for development", id="severable.E004")
    deployment = settings.DEPLOYMENT
    replicas = deployment.processes.web.max_replicas if deployment.processes else 1
    if not settings.CACHE_URL and max(replicas, len(deployment.http)) > 1:
        yield Warning(
            "CACHE_URL is not set: the deployment's web processes cache no calls",
            id="severable.W001",
        )


@register(Tags.staticfiles, deploy=True)
def static_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """Warn if pages would have no styles and scripts."""
    if not collected():
        yield Warning(
            f"STATIC_ROOT {settings.STATIC_ROOT} is empty: static files are 404",
            hint="`manage.py collectstatic --noinput`, or `manage.py prepare`",
            id="severable.W002",
        )


def collected() -> bool:
    """Return whether static files can be served; development serves them without collecting."""
    if settings.WHITENOISE_USE_FINDERS:
        return True
    root = Path(str(settings.STATIC_ROOT))
    return root.is_dir() and any(root.iterdir())


def _weak(secret: str) -> bool:
    return (
        len(secret) < SECRET_KEY_MIN_LENGTH
        or len(set(secret)) < SECRET_KEY_MIN_UNIQUE_CHARACTERS
        or secret.startswith(SECRET_KEY_INSECURE_PREFIX)
    )
