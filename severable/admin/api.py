"""The admin of the API's models: idempotency keys and attempts."""

from __future__ import annotations

from django.contrib import admin

from severable.admin.columns import column
from severable.admin.site import Record
from severable.api.models import Attempts, IdempotencyKey


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(Record):
    icon = "vpn_key"
    list_display = ["key", "context", "caller", "status", "created_at"]
    list_filter = ["context", "created_at"]
    search_fields = ["operation_id", "caller"]
    ordering = ["-created_at"]
    fields = [
        "key",
        "context",
        "caller",
        "operation_id",
        "fingerprint",
        "created_at",
        "locked_until",
    ]
    fields += ["status", "headers", "shown_body"]

    shown_body = column("body", lambda key: bytes(key.body).decode(errors="replace"))


@admin.register(Attempts)
class AttemptsAdmin(Record):
    icon = "lock_clock"
    list_display = ["key", "count", "ends_at"]
    search_fields = ["key"]
    ordering = ["-ends_at"]
