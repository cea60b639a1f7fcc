"""Idempotency keys, each with one execution and one response; counters of limited attempts."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

LOCK = timedelta(seconds=30)


class IdempotencyKey(models.Model):
    """A key that a caller sent with a request, and its response."""

    operation_id = models.UUIDField(
        primary_key=True, default=uuid7, help_text="Identifies this execution to the services"
    )
    context = models.CharField(max_length=50, help_text="The owner of the route")
    caller = models.CharField(
        max_length=100, help_text="A user, or the network of an anonymous client"
    )
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="A keyed hash of method, path and body")
    claim = models.UUIDField(default=uuid4, help_text="The execution that has the lock")
    locked_until = models.DateTimeField(help_text="In flight until then, if there is no response")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["context", "caller", "key"], name="api_idempotencykey_once"
            )
        ]

    def __str__(self) -> str:
        return self.key


class Attempts(models.Model):
    """The number of attempts since a window began; or, as "known", a marker that an account has
    signed in from a network."""

    key = models.CharField(max_length=255, primary_key=True, help_text="The action and the client")
    count = models.PositiveIntegerField(default=1)
    ends_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = verbose_name_plural = "attempts"

    def __str__(self) -> str:
        return self.key
