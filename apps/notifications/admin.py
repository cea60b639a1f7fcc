"""Notifications in the admin: each mail, and whether it has been sent."""

from django.contrib import admin

from apps.notifications.models import Notification
from severable.admin import JobAdmin, link, short


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

    @admin.display(description="body")
    def text(self, notification: Notification) -> str:
        return notification.shown_body

    @admin.display(description="customer", ordering="user_id")
    def customer(self, notification: Notification) -> str:
        return link("users.user", notification.user_id, f"user {notification.user_id}")

    @admin.display(description="order", ordering="order_id")
    def shown_order(self, notification: Notification) -> str:
        return link("orders.order", notification.order_id, short(notification.order_id))
