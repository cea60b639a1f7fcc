"""The library's settings: those of the package, its own apps and its own users."""

from severable.settings import *  # noqa: F403
from severable.settings import INSTALLED_APPS, ISSUES_TOKENS

INSTALLED_APPS = [*INSTALLED_APPS, "events", "api"]
AUTH_USER_MODEL = "readers.Reader" if ISSUES_TOKENS else "auth.User"
