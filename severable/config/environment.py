"""The sources of settings: the environment, .env and, in development, defaults."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from severable import project
from severable.config import development
from severable.config.tls import TlsError
from severable.topology import TopologyError

BASE_DIR = project.root()

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

VAR = Path(env.str("VAR_DIR", str(BASE_DIR / "var")))  # for all files that are written at run time

SHOP_ENV = env.str("SHOP_ENV", "development")
DEVELOPMENT = SHOP_ENV == "development"


REQUIRED = {
    "SECRET_KEY": "signs sessions and links; 50 random characters",
    "SERVICE_KEY": "authenticates deployments to each other; the same 50 random characters in all",
    "ALLOWED_HOSTS": "the shop's host names, with commas between them",
    "JWT_PRIVATE_KEY": "signs tokens; manage.py jwks --new makes one",
    "JWT_PUBLIC_KEYS": "manage.py jwks prints them in the deployment with the users",
    "PAYMENT_PROVIDER": "the class that charges cards, an apps.payments.providers.Provider",
    "PUBLIC_URL": "the shop's public URL, such as https://shop.example.com",
    "EMAIL_URL": "the mail server, such as smtp+tls://user:password@host:587",
}
_missing: set[str] = set()


def required(name: str, in_development: str) -> str:
    """Return a setting that has a default in development only.

    If it is not set elsewhere, it is empty, and `refuse_missing` names it.
    """
    value: str = env.str(name, in_development if DEVELOPMENT else "")
    if not value:
        _missing.add(name)
    return value


def secret(name: str, make: Callable[[], str]) -> str:
    """Return a secret from the environment. In development, generate and store it once."""
    if DEVELOPMENT and not env.str(name, ""):
        return development.stored(VAR / "keys" / name.lower(), make)
    return required(name, "").replace("\\n", "\n")


def refuse_missing(deployment: str) -> None:
    """Raise ImproperlyConfigured with all settings that are missing, if any are."""
    lines = [f"\n  {name}: {what}" for name, what in REQUIRED.items() if name in _missing]
    if lines:
        raise ImproperlyConfigured(
            f"SHOP_ENV is {SHOP_ENV!r}: the deployment {deployment!r} does not start without"
            + "".join(lines)
        )


def load_settings() -> None:
    """Load Django's settings. Exit with one message if they are not valid."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  # the first access loads them
    except (ImproperlyConfigured, TopologyError, TlsError) as error:
        sys.exit(f"shop: {error}")
