"""The public API of notifications."""

from typing import Any

from rest_framework import generics, serializers

from apps.notifications import queries
from apps.notifications.models import Notification
from severable.api import NewestFirst, ReadLimit, caller_id


class NotificationSerializer(serializers.ModelSerializer[Notification]):
    body = serializers.CharField(
        source="shown_body", help_text="Empty if it is for the mailbox only"
    )

    class Meta:
        model = Notification
        fields = ["id", "kind", "order_id", "subject", "body", "state", "created_at", "sent_at"]


class Notifications(generics.ListAPIView[Notification]):
    """List your notifications, newest first."""

    queryset = Notification.objects.none()
    throttle_classes = [ReadLimit]
    serializer_class = NotificationSerializer
    pagination_class = NewestFirst
    filterset_fields = ["kind", "order_id"]

    def get_queryset(self) -> Any:
        return queries.notifications(caller_id(self.request))
