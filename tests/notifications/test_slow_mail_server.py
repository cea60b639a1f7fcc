"""A slow mail server: each mail is sent once, and the worker goes on with everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.mail.backends.smtp import EmailBackend
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from apps.notifications.models import Notification
from apps.notifications.services import MAX_SENDING
from severable.jobs import tasks
from tests.machine import eventually
from tests.notifications.smtp import MailServer, mail_server

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 4  # of a worker


@pytest.fixture
def answers() -> threading.Event:
    """Set: the mail server accepts messages. Until then it keeps those who send waiting."""
    return threading.Event()


@pytest.fixture
def server(answers: threading.Event, settings: Any) -> Iterator[MailServer]:
    def pause(verb: str) -> None:
        if verb == "MESSAGE":
            assert answers.wait(60)

    with mail_server(pause) as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server
        answers.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that is shorter than the conversation."""
    monkeypatch.setattr(Notification, "lease", timedelta(seconds=1.5))


def mail() -> Notification:
    about = {"user_id": 7, "email": "alice@example.com", "kind": "order.OrderPaid"}
    text = {"subject": "Paid", "body": f"{uuid4()}"}
    return Notification.objects.create(due_at=Now(), **about, **text)


def work(*rows: Notification) -> list[threading.Thread]:
    """Let a thread of the worker take each row, as the news of it does."""

    def run(row: Notification) -> None:
        try:
            tasks.run(row._meta.label, str(row.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def count(**wanted: Any) -> Callable[[], int]:
    return lambda: Notification.objects.filter(**wanted).count()


def test_a_mail_that_takes_longer_than_a_lease_is_sent_once(
    server: MailServer, answers: threading.Event, impatient: None
) -> None:
    """Another worker took the mail while the first was still waiting: each was sent 8 times."""
    row = mail()
    first = work(row)
    eventually(count(attempts=1))
    ends = time.monotonic() + 2 * Notification.lease.total_seconds()
    while time.monotonic() < ends:
        join(work(row))
        time.sleep(0.05)
    answers.set()
    join(first)
    row.refresh_from_db()

    assert (row.state, row.attempts, len(server.messages)) == ("done", 1, 1)


def test_an_attempt_that_lost_its_lease_notes_that_it_sent(
    server: MailServer, answers: threading.Event
) -> None:
    """A process that was frozen: what it has sent all the same is not sent by the next."""
    row = mail()
    late = work(row)
    eventually(count(attempts=1))
    Notification.objects.update(attempts=F("attempts") + 1, due_at=timezone.now())
    answers.set()
    join(late)
    row.refresh_from_db()
    join(work(row))

    assert (row.state, len(server.messages)) == ("done", 1)
    assert row.sent_at


def test_a_renewed_attempt_has_an_end(
    server: MailServer, answers: threading.Event, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail server that never answers must not keep a mail from being tried again, or parked."""
    monkeypatch.setattr(Notification, "max_duration", timedelta(seconds=0.1))
    row = mail()
    first = work(row)
    eventually(lambda: Notification.due().filter(attempts=1).exists())
    answers.set()
    join(first)


def test_slow_mails_leave_threads_to_other_work(
    server: MailServer, answers: threading.Event
) -> None:
    """Four mails took all threads of the worker: nothing else was delivered."""
    rows = [mail() for _ in range(THREADS)]
    threads = work(*rows)
    eventually(lambda: sum(thread.is_alive() for thread in threads) == MAX_SENDING)
    deferred = Notification.objects.filter(granted_attempts=1)

    assert MAX_SENDING < THREADS
    assert {row.error for row in deferred} == {"other mails are being sent"}
    assert deferred.count() == THREADS - MAX_SENDING

    answers.set()
    join(threads)
    for _ in range(2):
        Notification.objects.filter(state="waiting").update(due_at=Now())
        join(work(*Notification.due()))
    assert count(state="done")() == len(server.messages) == THREADS


def test_a_deferred_mail_keeps_its_attempts(server: MailServer, answers: threading.Event) -> None:
    """A mail that was never tried is parked, because others were slow."""
    busy = work(*[mail() for _ in range(MAX_SENDING)])
    eventually(count(attempts=1, due_at__gt=Now()), within=30)
    eventually(lambda: count(attempts=1)() == MAX_SENDING)
    row = mail()
    for _ in range((Notification.max_attempts or 0) + 2):
        Notification.objects.filter(pk=row.pk).update(due_at=Now())
        join(work(row))
    answers.set()
    join(busy)
    Notification.objects.filter(pk=row.pk).update(due_at=Now())
    join(work(row))

    assert Notification.objects.get(pk=row.pk).state == "done"


def test_a_slow_answer_is_waited_for(server: MailServer, settings: Any) -> None:
    """A message whose acceptance is not awaited is sent again, though it has arrived: RFC 5321
    asks for minutes."""
    assert EmailBackend(timeout=None).timeout >= 60
