"""Mails to customers, and whether they have been sent."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from severable.jobs import Job


class Notification(Job):
    """A mail. A handler creates it; it is sent at least once, after the handler's transaction.

    Guarantees: services.py.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    user_id = models.IntegerField(db_index=True)
    order_id = models.UUIDField(null=True, blank=True, db_index=True)
    kind = models.CharField(max_length=100, help_text="Type of the event")
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
        """The body as shown to the account's owner and to staff."""
        return "" if self.confidential else self.body

    @property
    def queue(self) -> str:
        return "notifications"

    @property
    def message_id(self) -> str:
        host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
        return f"<{self.kind}.{self.id}@{host}>"
