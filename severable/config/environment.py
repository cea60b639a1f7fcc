"""The sources of settings: the environment, .env and, in development, defaults."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from severable import project
from severable.config import development
from severable.config.tls import TlsError
from severable.topology import TopologyError

BASE_DIR = project.root()

FALSE = ("false", "off", "n", "no", "0", "")


class Env(environ.Env):
    """An environment whose errors name the variable. No number in it is negative."""

    def get_value(self, var: str, cast: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the value of a variable. Raises ImproperlyConfigured if it is not of its type."""
        try:
            value = super().get_value(var, cast, *args, **kwargs)
        except ValueError:
            raise self._invalid(var, cast) from None
        given = self.ENVIRON.get(var, "").lower()
        if cast is bool and given not in (*self.BOOLEAN_TRUE_STRINGS, *FALSE):
            raise self._invalid(var, cast)
        if cast in (int, float) and not (isfinite(value) and value >= 0):
            raise self._invalid(var, cast)
        return value

    def _invalid(self, var: str, cast: Any) -> ImproperlyConfigured:
        wanted = {int: "a whole number from 0", float: "a number from 0", bool: "true or false"}
        value = self.ENVIRON.get(var)
        return ImproperlyConfigured(f"{var} is {value!r}, not {wanted.get(cast, 'valid')}")

    def address(self, var: str, default: str, schemes: tuple[str, ...]) -> str:
        """Return a URL of one of these schemes. Raises ImproperlyConfigured, without the URL's
        password."""
        url: str = self.str(var, default)
        parts = urlsplit(url)
        if url and parts.scheme not in schemes:
            raise ImproperlyConfigured(f"{var} is no URL with {', '.join(schemes)}")
        try:
            parts.port  # noqa: B018  # parsed here
        except ValueError as error:
            raise ImproperlyConfigured(f"{var}: {error}") from None
        return url


env = Env()
Env.read_env(BASE_DIR / ".env")

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
