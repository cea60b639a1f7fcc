"""Idempotency keys, each with one execution and one answer; attempts, which are limited."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

LOCK = timedelta(seconds=30)


class IdempotencyKey(models.Model):
    """A key that one caller sent with one request, and the answer that it got."""

    operation_id = models.UUIDField(
        primary_key=True, default=uuid7, help_text="What the services know this execution by"
    )
    context = models.CharField(max_length=50, help_text="Which owns the route")
    caller = models.CharField(max_length=100, help_text="A user, or an anonymous client's network")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Of method, path and body, keyed")
    claim = models.UUIDField(default=uuid4, help_text="The run that has the lock")
    locked_until = models.DateTimeField(help_text="In flight until then, while without an answer")
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
    """How often something was tried since its window began; or, as "known", that an account has
    signed in from a network."""

    key = models.CharField(
        max_length=255, primary_key=True, help_text="What is counted, and of which client"
    )
    count = models.PositiveIntegerField(default=1)
    ends_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = verbose_name_plural = "attempts"

    def __str__(self) -> str:
        return self.key
