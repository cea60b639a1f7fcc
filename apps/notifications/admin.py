"""Notifications in the admin: the mails and their state."""

from operator import attrgetter

from django.contrib import admin

from apps.notifications.models import Notification
from severable.admin import JobAdmin, column, link_column, short


@admin.register(Notification)
class NotificationAdmin(JobAdmin):
    icon = "mail"
    list_display = ["subject", "email", "shown_state", "attempts", "shown_order", "created_at"]
    list_filter = ["state", "created_at"]
    search_fields = ["user_id", "order_id"]
    ordering = ["-id"]
    fieldsets = [
        ("Mail", {"fields": ["email", "subject", "text"]}),
        ("About", {"fields": ["kind", ("customer", "shown_order")]}),
        (
            "Sending",
            {"fields": [("shown_state", "attempts"), ("created_at", "sent_at"), "due_at", "error"]},
        ),
    ]

    text = column("body", attrgetter("shown_body"))

    customer = link_column("users.user", "user_id", "customer", "user {}".format)
    shown_order = link_column("orders.order", "order_id", "order", short)
