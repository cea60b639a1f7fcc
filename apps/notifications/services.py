"""Commands on notifications.

What is guaranteed of mails: each event has its mail written once, with the delivery of the event,
or not at all where the customer wants none. A written mail is sent until the mail server takes it,
and parked after eight attempts, for staff to see. A slow mail server is waited for: the lease of a
mail is renewed while it is being sent, and a worker sends two at a time.

What cannot be: that it is sent once. Where a process dies between the mail server's yes and our
commit, nobody knows of that yes, and the mail is sent again. It is then the same to the byte, with
the same Message-ID: mail servers and programs that compare those show one. And two mails may
arrive in any order; each names what it tells of.
"""

import threading
from email.utils import format_datetime
from uuid import UUID

from django.core.mail import EmailMessage
from django.db.models.functions import Now
from django.utils import timezone

from apps.notifications.models import Notification
from severable.jobs import NotYet, enqueue_on_commit, executes

# Mails that one worker sends at a time: half of its threads, so that a slow mail server leaves
# the others to everything else. The rest is deferred.
MAX_SENDING = 2
SLOT_WAIT = 0.1  # seconds

_slots = threading.BoundedSemaphore(MAX_SENDING)


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


@executes(Notification)
def send(notification: Notification) -> None:
    """Send a mail, unless as many are being sent as this worker may send at once."""
    if not _slots.acquire(timeout=SLOT_WAIT):
        # 1, 2, 4 … 60 seconds: what waits for a slow server must not keep the worker busy.
        raise NotYet("others are being sent", notification.backoff().total_seconds())
    try:
        with notification.renewed():
            _send(notification)
    finally:
        _slots.release()
    _note_sent(notification)


def _send(mail: Notification) -> None:
    headers = {"Message-ID": mail.message_id, "Date": format_datetime(mail.created_at)}
    EmailMessage(mail.subject, mail.body, to=[mail.email], headers=headers).send()


def _note_sent(mail: Notification) -> None:
    # Also if the lease was lost: another attempt would send it again.
    sent = Notification.objects.filter(pk=mail.pk).exclude(state=Notification.State.DONE)
    sent.update(state=Notification.State.DONE, due_at=None, error="", sent_at=timezone.now())
