"""Mail: the server in EMAIL_URL or, in development, one file per message under var/mail/.

A file is named by its Message-ID: a message that is sent twice is one file, as it is one message
to a mail server that compares ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from severable.config.environment import env, required


def server() -> dict[str, Any]:
    """Return Django's settings for the server in EMAIL_URL; none if it is "files".

    Raises ImproperlyConfigured if the URL is not valid.
    """
    url = required("EMAIL_URL", "files", "the mail server: smtp+tls://user:password@host:587")
    if url in ("files", ""):
        return {}
    try:
        found: dict[str, Any] = env.email_url_config(url)
    except (ImproperlyConfigured, ValueError) as error:
        raise ImproperlyConfigured(f"EMAIL_URL: {error}") from None
    return found


class FileBackend(BaseEmailBackend):
    """Writes messages to settings.MAIL_DIR."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        settings.MAIL_DIR.mkdir(parents=True, exist_ok=True)
        for email in email_messages:
            self._write(email.message())
        return len(email_messages)

    def _write(self, message: Any) -> None:
        local_part = message["Message-ID"].strip("<>").partition("@")[0]
        name = re.sub(r"[^A-Za-z0-9.-]", "-", local_part)
        draft = settings.MAIL_DIR / f".{name}.{uuid4().hex}"
        draft.write_bytes(message.as_bytes())
        draft.replace(settings.MAIL_DIR / f"{name}.eml")
