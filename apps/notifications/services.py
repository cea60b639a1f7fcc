"""What can be done with notifications.

What is guaranteed of mails: each event has its mail written once, with the delivery of the event,
or not at all where the customer wants none. A written mail is sent until the mail server takes it,
and parked after eight attempts, for staff to see. A slow mail server is waited for: the lease of a
mail is renewed while it is being sent, and a worker sends two at a time.

What cannot be: that it is sent once. Where a process dies between the mail server's yes and our
commit, nobody knows of that yes, and the mail is sent again. It is then the same to the byte, with
the same Message-ID: mail servers and programs that compare those show one. And two mails may
arrive in any order; each names what it tells of.
"""

from uuid import UUID

from django.db.models.functions import Now

from apps.notifications.models import Notification
from severable.jobs import enqueue_on_commit


def notify(
    *,
    user_id: int,
    email: str,
    kind: str,
    subject: str,
    body: str,
    order_id: UUID | None = None,
    confidential: bool = False,
) -> Notification:
    """Write a mail, in the transaction of whoever has something to say. It is sent after that."""
    notification = Notification.objects.create(
        user_id=user_id,
        email=email,
        kind=kind,
        subject=subject,
        body=body,
        order_id=order_id,
        confidential=confidential,
        due_at=Now(),
    )
    enqueue_on_commit(notification)
    return notification
