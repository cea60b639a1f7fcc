"""Idempotency keys in the admin: who sent which, and what was answered."""

from __future__ import annotations

from django.contrib import admin

from shop.api.models import IdempotencyKey
from shop.backoffice import Record


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(Record):
    icon = "vpn_key"
    list_display = ["key", "caller", "status", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["operation_id", "caller"]
    ordering = ["-created_at"]
    fields = ["key", "caller", "operation_id", "fingerprint", "created_at", "locked_until"]
    fields += ["status", "headers", "shown_body"]

    @admin.display(description="body")
    def shown_body(self, key: IdempotencyKey) -> str:
        return bytes(key.body).decode(errors="replace")
