"""What the generic tests need to know of notifications."""

from __future__ import annotations

from uuid import UUID

from apps.notifications.models import Notification
from tests.samples import OWN, Route

ROUTES = {("GET", "/api/notifications"): Route(OWN)}


def notification(n: int) -> Notification:
    return Notification.objects.create(user_id=n, kind="k", subject="s", order_id=UUID(int=n))


ROWS = {Notification: notification}
