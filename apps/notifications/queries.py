"""Reads of notifications."""

from uuid import UUID

from django.db.models import QuerySet

from apps.notifications.models import Notification


def notifications(user_id: int) -> QuerySet[Notification]:
    return Notification.objects.filter(user_id=user_id)


def about_order(order_id: UUID) -> QuerySet[Notification]:
    return Notification.objects.filter(order_id=order_id).order_by("id")
