"""Where settings come from: the environment, .env and, in development, defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from severable import project
from severable.config import development

BASE_DIR = project.root()

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

VAR = Path(env.str("VAR_DIR", str(BASE_DIR / "var")))  # all that is written at run time

SHOP_ENV = env.str("SHOP_ENV", "development")
DEVELOPMENT = SHOP_ENV == "development"


def required(name: str, in_development: str) -> str:
    """What has a default in development only."""
    value: str = env.str(name, in_development if DEVELOPMENT else "")
    if not value:
        raise ImproperlyConfigured(f"{name} must be set where SHOP_ENV is {SHOP_ENV!r}")
    return value


def secret(name: str, make: Callable[[], str]) -> str:
    """A secret from the environment. Only development makes its own, and keeps it."""
    if DEVELOPMENT and not env.str(name, ""):
        return development.kept(VAR / "keys" / name.lower(), make)
    return required(name, "").replace("\\n", "\n")
