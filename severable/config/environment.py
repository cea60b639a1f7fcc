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


_missing: dict[str, str] = {}


def required(name: str, in_development: str, purpose: str) -> str:
    """Return a setting that has a default in development only.

    If it is not set elsewhere, it is empty, and `refuse_missing` names it with its purpose.
    """
    value: str = env.str(name, in_development if DEVELOPMENT else "")
    if not value:
        _missing[name] = purpose
    return value


def secret(name: str, make: Callable[[], str], purpose: str = "") -> str:
    """Return a secret from the environment. In development, generate and store it once."""
    if DEVELOPMENT and not env.str(name, ""):
        return development.stored(VAR / "keys" / name.lower(), make)
    return required(name, "", purpose).replace("\\n", "\n")


def refuse_missing() -> None:
    """Raise ImproperlyConfigured with all required settings that are missing, if any are."""
    lines = [f"\n  {name}: {purpose}" for name, purpose in _missing.items()]
    if lines:
        raise ImproperlyConfigured(
            f"SHOP_ENV is {SHOP_ENV!r}: the deployment {settings.DEPLOYMENT.name!r} does not start "
            "without" + "".join(lines)
        )


def load_settings() -> None:
    """Load Django's settings. Exit with one message if they are not valid."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  # the first access loads them
        refuse_missing()
    except (ImproperlyConfigured, TopologyError, TlsError) as error:
        sys.exit(f"{project.name()}: {error}")
