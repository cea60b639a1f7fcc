"""Mails to customers: what is to be said, and whether it has been sent."""

import threading
from email.utils import format_datetime

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from severable.jobs import Job, NotYet

# Mails that one worker sends at a time: half of its threads, so that a slow mail server leaves
# the others to everything else. The rest is deferred.
MAX_SENDING = 2
SLOT_WAIT = 0.1  # seconds

_slots = threading.BoundedSemaphore(MAX_SENDING)


class Notification(Job):
    """One mail. Written by a handler with the event, sent afterwards.

    It is sent at least once: where a process dies between sending and noting it, once more,
    the same to the byte. What else holds: services.py.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    user_id = models.IntegerField(db_index=True)
    order_id = models.UUIDField(null=True, blank=True, db_index=True)
    kind = models.CharField(max_length=100, help_text="The event that it tells of")
    email = models.EmailField("to")
    subject = models.CharField(max_length=200)
    body = models.TextField()
    confidential = models.BooleanField(
        default=False, help_text="The body is for the reader of the mailbox only"
    )
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta(Job.Meta):
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.subject

    @property
    def shown_body(self) -> str:
        """The body, as the account's owner and staff may see it."""
        return "" if self.confidential else self.body

    @property
    def queue(self) -> str:
        return "notifications"

    @property
    def message_id(self) -> str:
        host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
        return f"<{self.kind}.{self.id}@{host}>"

    def work(self) -> None:
        """Send it."""
        if not _slots.acquire(timeout=SLOT_WAIT):
            # 1, 2, 4 … 60 seconds: what waits for a slow server must not keep the worker busy.
            raise NotYet("others are being sent", self.backoff().total_seconds())
        try:
            with self.renewed():
                self._send()
        finally:
            _slots.release()
        self._note_sent()

    def _send(self) -> None:
        headers = {"Message-ID": self.message_id, "Date": format_datetime(self.created_at)}
        EmailMessage(self.subject, self.body, to=[self.email], headers=headers).send()

    def _note_sent(self) -> None:
        """Mark it done even if the lease was lost: another attempt would send it again."""
        sent = Notification.objects.filter(pk=self.pk).exclude(state=self.State.DONE)
        sent.update(state=self.State.DONE, due_at=None, error="", sent_at=timezone.now())
