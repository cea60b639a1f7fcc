"""What can be done with notifications."""

from uuid import UUID

from django.db.models.functions import Now

from apps.notifications.models import Notification
from shop.jobs.tasks import nudge_on_commit


def notify(
    *, user_id: int, email: str, kind: str, subject: str, body: str, order_id: UUID | None = None
) -> Notification:
    """Write a mail, in the transaction of whoever has something to say. It is sent after that."""
    notification = Notification.objects.create(
        user_id=user_id,
        email=email,
        kind=kind,
        subject=subject,
        body=body,
        order_id=order_id,
        due_at=Now(),
    )
    nudge_on_commit(notification)
    return notification
