"""Commands on notifications.

Guarantees: an event's mail is created once, in the transaction of its delivery, unless the customer
wants none. It is retried until the mail server accepts it, and parked after eight attempts. While
the mail server is slow, the mail's lease is renewed; a worker sends two mails at a time.

Not guaranteed: that a mail is sent only once. If a process dies between the mail server's
acceptance and the commit, the mail is sent again, byte for byte and with the same Message-ID, by
which mail servers and clients detect duplicates. And mails may arrive in any order.
"""

import threading
from email.utils import format_datetime
from uuid import UUID

from django.core.mail import EmailMessage
from django.utils import timezone

from apps.notifications.models import Notification
from severable.jobs import NotYet, executes, run_after_commit

# Mails that one worker sends at a time: half of its threads, so that a slow mail server does not
# block the others. Further mails are deferred.
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
    """Create a mail in a handler's transaction. The worker sends it after the commit."""
    notification = Notification(
        user_id=user_id,
        email=email,
        kind=kind,
        subject=subject,
        body=body,
        order_id=order_id,
        confidential=confidential,
    )
    run_after_commit(notification)
    return notification


@executes(Notification)
def send(notification: Notification) -> None:
    """Send a mail. Raises NotYet if this worker is sending MAX_SENDING others."""
    if not _slots.acquire(timeout=SLOT_WAIT):
        # Backoff, so that mails waiting for a slow server do not keep the worker busy.
        raise NotYet("other mails are being sent", notification.backoff().total_seconds())
    try:
        with notification.renewed():
            _send(notification)
    finally:
        _slots.release()
    _mark_sent(notification)


def _send(mail: Notification) -> None:
    headers = {"Message-ID": mail.message_id, "Date": format_datetime(mail.created_at)}
    EmailMessage(mail.subject, mail.body, to=[mail.email], headers=headers).send()


def _mark_sent(mail: Notification) -> None:
    # Even if the lease was lost: another attempt would send it again.
    sent = Notification.objects.filter(pk=mail.pk).exclude(state=Notification.State.DONE)
    sent.update(state=Notification.State.DONE, due_at=None, error="", sent_at=timezone.now())
