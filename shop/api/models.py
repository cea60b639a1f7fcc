"""Idempotency keys, each with one execution and one answer; attempts, which are limited."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7


class IdempotencyKey(models.Model):
    """A key that one caller sent with one request, and the answer that it got."""

    operation_id = models.UUIDField(
        primary_key=True, default=uuid7, help_text="What the services know this execution by"
    )
    caller = models.CharField(max_length=50)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Of method, path and body")
    locked_until = models.DateTimeField(help_text="In flight until then, while without an answer")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["caller", "key"], name="api_idempotencykey_once")
        ]

    def __str__(self) -> str:
        return self.key


class Attempts(models.Model):
    """How often somebody has tried to sign in since their window began."""

    key = models.CharField(
        max_length=200, primary_key=True, help_text="The account, or the client's address"
    )
    count = models.PositiveIntegerField(default=1)
    ends_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = verbose_name_plural = "attempts"

    def __str__(self) -> str:
        return self.key
