"""The checks of mail by `manage.py check --deploy`."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

SMTP = "django.core.mail.backends.smtp.EmailBackend"


@register(Tags.security, deploy=True)
def mail(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report mail that would not be delivered."""
    if settings.EMAIL_BACKEND != SMTP or not settings.EMAIL_HOST:
        yield Error(
            "EMAIL_URL names no mail server: smtp+tls://…@host:587", id="notifications.E001"
        )
    if settings.DEFAULT_FROM_EMAIL.partition("@")[2] in ("", "localhost"):
        yield Warning(
            "DEFAULT_FROM_EMAIL is not set: mail servers reject the default",
            id="notifications.W001",
        )
