"""Reads of notifications."""

from django.db.models import QuerySet

from apps.notifications.models import Notification


def notifications(user_id: int) -> QuerySet[Notification]:
    return Notification.objects.filter(user_id=user_id)
