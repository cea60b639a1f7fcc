"""Rows of work and leases: one at a time, tried again, parked in the end, never forgotten."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.notifications.models import Notification
from apps.orders.saga import PLACE
from severable.jobs import leader, scheduler, tasks
from severable.jobs.models import Lease, LeaseLost, NotYet
from severable.saga.models import Saga


def job(**changes: Any) -> Notification:
    return Notification.objects.create(
        **{
            "user_id": 7,
            "email": "alice@example.com",
            "kind": "order.OrderPaid",
            "subject": "Paid",
            "body": "…",
            "due_at": Now(),
        }
        | changes
    )


def past() -> Any:
    return timezone.now() - timedelta(minutes=1)


@pytest.fixture
def nudges(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    sent: list[str] = []
    monkeypatch.setattr(scheduler, "enqueue", lambda job: sent.append(str(job.pk)))
    with scheduler.overridden():
        yield sent


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_gets_a_job() -> None:
    row, won = job(), []
    start = threading.Barrier(8)

    def work() -> None:
        try:
            start.wait()
            if Notification.claim(row.pk):
                won.append(1)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(won) == 1


@pytest.mark.django_db(transaction=True)
def test_a_message_about_a_row_that_is_done_executes_the_one_due_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that had fallen behind was buried: thousands of stale messages, 150 rows."""
    monkeypatch.setattr(Notification, "execute", Notification.complete)
    done, late, later = job(state="done"), job(due_at=past()), job()
    for expected in ((late,), (late, later), (late, later)):
        tasks.run(Notification._meta.label, str(done.pk))
        assert set(Notification.objects.filter(state="done")) == {done, *expected}


@pytest.mark.django_db
def test_what_is_not_due_is_not_done() -> None:
    assert Notification.claim(job(due_at=timezone.now() + timedelta(minutes=1)).pk) is None
    assert Notification.claim(job(state="parked").pk) is None
    assert Notification.claim(uuid4()) is None


@pytest.mark.django_db
def test_a_job_whose_worker_died_is_due_again_after_its_lease() -> None:
    row = job()
    assert Notification.claim(row.pk)
    assert Notification.claim(row.pk) is None
    Notification.objects.update(due_at=past())
    again = Notification.claim(row.pk)
    assert again and again.attempts == 2


@pytest.mark.django_db
def test_a_late_holder_cannot_finish_what_another_holds() -> None:
    row = job()
    late = Notification.claim(row.pk)
    Notification.objects.update(due_at=past())
    Notification.claim(row.pk)
    assert late
    with pytest.raises(LeaseLost):
        late.complete()
    late.fail(ValueError("too late"))
    assert Notification.objects.get().error == ""


@pytest.mark.django_db
def test_failures_back_off_and_are_parked_with_their_error() -> None:
    row, waits = job(), []
    for _ in range(Notification.max_attempts or 0):
        Notification.objects.update(due_at=past())
        mine = Notification.claim(row.pk)
        assert mine
        waits.append(mine.backoff().total_seconds())
        mine.fail(ValueError("no"))
    row.refresh_from_db()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (row.state, row.error, row.due_at) == ("parked", "ValueError: no", None)
    row.retry_now()
    assert Notification.claim(row.pk)


@pytest.mark.django_db
def test_what_is_done_is_not_retried() -> None:
    row = job(state="done")
    row.retry_now()
    assert Notification.claim(row.pk) is None


@pytest.mark.django_db
def test_the_clock_brings_news_of_what_is_due_once_in_a_while(
    nudges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too often would flood the broker while workers are down; once only would lose it."""
    job()
    job(due_at=timezone.now() + timedelta(minutes=1))
    sent = []
    for now in range(70):
        monkeypatch.setattr(scheduler, "monotonic", lambda now=now: float(now))
        before = len(nudges)
        scheduler.enqueue_due_jobs()
        sent += [now] * (len(nudges) - before)
    assert sent == [0, 5, 15, 35, 55]


@pytest.mark.django_db
def test_an_error_in_one_periodic_function_stops_no_other() -> None:
    called = []

    def broken() -> None:
        raise ZeroDivisionError

    with scheduler.overridden((60, broken), (60, lambda: called.append(1))):
        ticking = scheduler.Scheduler()
        ticking.tick()
        ticking.tick()
    assert called == [1]


def test_one_function_a_tick_so_that_the_lease_is_renewed_between() -> None:
    """Regression: one tick called all that was due, and a slow one held up the lease and the
    rest. One with more to do is called again after the others that are due."""
    called: list[str] = []

    def slow() -> bool:
        called.append("slow")
        return called.count("slow") < 3

    def other() -> None:
        called.append("other")

    with scheduler.overridden((60, slow), (0, other)):
        ticking = scheduler.Scheduler()
        assert ticking.tick() and called == ["slow"]
        while called.count("slow") < 3:
            assert ticking.tick()
    assert called == ["slow", "other", "slow", "other", "slow"]


def test_what_fails_again_and_again_is_logged_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Regression: a broker that is down was a line every half second."""
    caplog.set_level(logging.INFO, "severable.jobs.scheduler")
    errors: list[Exception] = [OSError("down"), OSError("down"), OSError("down")]

    def failing() -> None:
        if errors:
            raise errors.pop()

    with scheduler.overridden((0, failing)):
        ticking = scheduler.Scheduler()
        for _ in range(5):
            ticking.tick()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "failing: OSError: down"),
        ("INFO", "failing works again"),
    ]


@pytest.mark.django_db
def test_a_backlog_is_enqueued_in_slices_fair_between_models(
    nudges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: as long as one model's many due rows took, no other was enqueued."""
    now = [100.0]
    monkeypatch.setattr(scheduler, "monotonic", lambda: now[0])
    monkeypatch.setattr(scheduler, "_served", {Saga._meta.label: 50.0})

    def enqueue(row: Any) -> None:
        nudges.append(row._meta.model_name)
        now[0] += scheduler.SLICE / 8

    monkeypatch.setattr(scheduler, "enqueue", enqueue)
    for _ in range(30):
        job()
    Saga.objects.create(name=PLACE.name, key=uuid4(), state="waiting", due_at=Now())
    assert scheduler.enqueue_due_jobs() is True
    assert nudges == ["notification"] * 8
    scheduler.enqueue_due_jobs()
    assert nudges.count("saga") == 1
    while scheduler.enqueue_due_jobs():
        pass
    assert (nudges.count("notification"), nudges.count("saga")) == (30, 1)


@pytest.mark.django_db
def test_a_backlog_is_not_searched_for_exhausted_rows_each_time(
    nudges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: 200,000 due rows were read every half second. Rows are looked at in the order
    in which they are due; a row that is exhausted is parked when its turn comes."""
    monkeypatch.setattr(scheduler, "BATCH", 3)
    first = [job(due_at=past() - timedelta(minutes=1)) for _ in range(3)]
    died = job(due_at=past(), attempts=Notification.max_attempts)
    with CaptureQueriesContext(connection) as captured:
        scheduler.enqueue_due_jobs()
    for query in captured:
        if "notification" in query["sql"]:
            assert re.search(r"LIMIT [13]$| IN \(", query["sql"]), query["sql"]
    Notification.objects.filter(pk__in=[row.pk for row in first]).update(state="done")
    scheduler.enqueue_due_jobs()
    died.refresh_from_db()
    assert died.state == "parked"
    assert str(died.pk) not in nudges


def test_the_clock_knows_all_that_is_periodic_once_django_has_started() -> None:
    """What registers only when some view is imported would not run where none is served."""
    command = (
        "import django; django.setup(); from severable.jobs import scheduler; "
        "print(*sorted(function.__name__ for _, function in scheduler._periodic))"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings"}
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True, env=env
    )
    known = ["enqueue_due_jobs", "expire_reservations"]
    known += ["purge_old_attempts", "purge_old_keys", "reconcile"]
    assert done.stdout.split() == known


@pytest.mark.django_db
def test_a_lease_has_one_holder_until_it_runs_out_or_is_given_back() -> None:
    assert Lease.acquire("relay", "one", 60)
    assert Lease.acquire("relay", "one", 60)
    assert not Lease.acquire("relay", "two", 60)
    assert Lease.acquire("scheduler", "two", 60)
    Lease.release("relay", "one")
    assert Lease.acquire("relay", "two", 60)
    Lease.objects.filter(name="relay").update(expires_at=past())
    assert Lease.acquire("relay", "three", 60)


@pytest.mark.django_db(transaction=True)
def test_a_leader_goes_on_after_an_error_and_lets_go_at_the_end() -> None:
    stop, steps = threading.Event(), []

    def step() -> bool:
        steps.append(1)
        if len(steps) == 1:
            raise OSError("the broker is down")
        stop.set()
        return False

    leader.lead("relay", step, idle=0.01, stop=stop)
    assert len(steps) == 2
    assert Lease.acquire("relay", "the next", 60)


@pytest.mark.django_db
def test_a_due_time_beyond_any_wait_is_due() -> None:
    """The database's clock was set back by an hour: what was claimed then would rest for one."""
    row = job(due_at=timezone.now() + timedelta(hours=1), attempts=1)
    again = Notification.claim(row.pk)
    assert again and again.attempts == 2
    assert Notification.claim(row.pk) is None


@pytest.mark.django_db
def test_a_lease_beyond_any_holder_s_is_free() -> None:
    """The database's clock was set back by an hour: no relay for an hour once its holder died."""
    assert Lease.acquire("relay", "one", 6)
    Lease.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert Lease.acquire("relay", "two", 6)
    assert not Lease.acquire("relay", "one", 6)


@pytest.mark.django_db
def test_no_deferral_is_longer_than_what_counts_as_stale() -> None:
    """It would be due at once, again and again."""
    claimed = Notification.claim(job().pk)
    assert claimed
    claimed.reschedule(NotYet("tomorrow", 86400))
    assert Notification.claim(claimed.pk) is None


@pytest.mark.django_db
def test_failed_attempts_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Mails failed eight times and were parked, in silence."""
    row = job(attempts=6)
    for _ in range(2):
        Notification.objects.update(due_at=past())
        claimed = Notification.claim(row.pk)
        assert claimed
        claimed.fail(ValueError("no\nroute"))
    job_name = f"notifications.Notification {row.pk}"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", f"{job_name}: attempt 7 failed: ValueError: no route; due again in 60 s"),
        ("ERROR", f"{job_name}: attempt 8 failed: ValueError: no route; parked"),
    ]


@pytest.mark.django_db
def test_what_is_parked_after_its_last_attempt_died_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = job(attempts=8, due_at=past())
    Notification.park_exhausted(Notification.due())
    Notification.park_exhausted(Notification.due())
    row.refresh_from_db()
    assert row.state == "parked"
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert f"notifications.Notification {row.pk} parked" in line.getMessage()
