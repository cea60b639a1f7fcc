"""Mails as files, one for each: what the shop does in development, too."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class FileBackend(BaseEmailBackend):
    """Writes messages to settings.MAIL_DIR."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        settings.MAIL_DIR.mkdir(parents=True, exist_ok=True)
        for email in email_messages:
            name = uuid4().hex
            draft = settings.MAIL_DIR / f".{name}"
            draft.write_bytes(email.message().as_bytes())
            draft.replace(settings.MAIL_DIR / f"{name}.eml")
        return len(email_messages)
