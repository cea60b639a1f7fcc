"""The scheduler of periodic functions, which run once per deployment.

`@periodic(seconds)` registers a function of no arguments. The process that owns the scheduler's
lease calls it. One thread calls all of them and renews the lease in between, so a function runs for
about SLICE seconds at most, and returns True if there is more to do. It must be idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connection
from kombu.exceptions import OperationalError

from severable.jobs.models import Job
from severable.jobs.outages import Outages
from severable.jobs.tasks import enqueue

log = logging.getLogger(__name__)

Function = Callable[[], bool | None]

_periodic: list[tuple[float, Function]] = []

FIRST_PAUSE, MAX_PAUSE = 5.0, 20.0  # seconds between two messages for a row
MIN_INTERVAL, MAX_INTERVAL = 0.2, 2.0  # seconds between two queries for due rows
BATCH = 500
SLICE = 1.0  # seconds


def periodic(seconds: float) -> Callable[[Function], Function]:
    """Return a decorator that registers a function to be called every `seconds`.

    If it returns False, there was nothing to do, and the interval doubles up to MAX_INTERVAL.
    """

    def register(function: Function) -> Function:
        _periodic.append((seconds, function))
        return function

    return register


class Scheduler:
    """Calls the periodic functions that are due. One instance per process."""

    def __init__(self) -> None:
        self._next = dict.fromkeys((function for _, function in _periodic), 0.0)
        self._intervals = {function: seconds for seconds, function in _periodic}
        self._outages = Outages(log)

    def tick(self) -> bool:
        """Call the periodic function that has been due longest. Return False if none is due."""
        if not _periodic:
            return False
        seconds, function = min(_periodic, key=lambda each: self._next[each[1]])
        if monotonic() < self._next[function]:
            return False
        more = self._call(function)
        longer = min(2 * self._intervals[function], max(seconds, MAX_INTERVAL))
        self._intervals[function] = longer if more is False else seconds
        self._next[function] = monotonic() + (0 if more else self._intervals[function])
        return True

    def wait(self, wait: Callable[[float], bool], seconds: float) -> None:
        """Call `wait` with the seconds until a function is due, at most `seconds`. It returns True
        if a transaction has committed: then jobs may be due."""
        now = monotonic()
        committed = wait(max(0.0, min([seconds, *(due - now for due in self._next.values())])))
        if committed and enqueue_due_jobs in self._next:
            due = self._next[enqueue_due_jobs]
            soon = due - self._intervals[enqueue_due_jobs] + MIN_INTERVAL
            self._next[enqueue_due_jobs] = min(due, soon)

    def _call(self, function: Function) -> bool | None:
        more, name = None, function.__name__
        try:
            more = function()
        except (DatabaseError, OSError, OperationalError) as error:
            self._outages.begin(name, f"{name}: {type(error).__name__}: {error}")
        except Exception as error:
            self._outages.begin(name, f"{function.__module__}.{name} failed", error)
        else:
            self._outages.end(name, f"{name} works again")
        return more


# By model and row: the time at which to enqueue the row again, and the pause after that.
_enqueued: dict[str, dict[Any, tuple[float, float]]] = {}
_served: dict[str, float] = {}  # when each model was last queried


@periodic(seconds=0.5)
def enqueue_due_jobs() -> bool | None:
    """Enqueue due rows repeatedly until a worker has claimed them, at growing intervals so that
    messages do not pile up if there is no worker.

    Of each model only the BATCH rows that have been due longest are enqueued. Returns True if
    SLICE was over before the last model, False if no row is due.
    """
    ends = monotonic() + SLICE
    models = [model for model in apps.get_models() if issubclass(model, Job) and _any_due(model)]
    for label in _enqueued.keys() - {model._meta.label for model in models}:
        del _enqueued[label]
    for model in sorted(models, key=lambda each: _served.get(each._meta.label, 0.0)):
        if not _enqueue_due(model, ends):
            return True
    return None if models else False


def _any_due(model: type[Job]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(*_due_statement(model))
        return cursor.fetchone() is not None


@cache
def _due_statement(model: type[Job]) -> tuple[str, tuple[Any, ...]]:
    # Built once: Django would take longer to build it than the database to execute it.
    return model.due().order_by().values("pk")[:1].query.sql_with_params()


def _enqueue_due(model: type[Job], ends: float) -> bool:
    """Enqueue the due rows of a model. Return False if the time was over before the last row."""
    label, now = model._meta.label, monotonic()
    _served[label] = now
    rows = list(model.due()[:BATCH])
    parked = model.park_exhausted(rows)
    before = _enqueued.get(label, {})
    _enqueued[label] = {row.pk: before[row.pk] for row in rows if row.pk in before}
    for row in rows:
        retry_at, pause = before.get(row.pk, (0.0, FIRST_PAUSE))
        if now < retry_at or row.pk in parked:
            continue
        if monotonic() >= ends:
            return False
        _enqueued[label][row.pk] = now + pause, min(2 * pause, MAX_PAUSE)
        if _can_run(row):
            enqueue(row)
    return True


def _can_run(job: Job) -> bool:
    """Return whether this deployment can execute a row. If not, it is parked eventually."""
    try:
        return bool(job.queue)
    except LookupError as error:
        if job.park_overdue(error):
            log.warning("%s %s is parked: %s", job._meta.label, job.pk, error)
        return False


@contextmanager
def overridden(*periodic: tuple[float, Function]) -> Iterator[None]:
    """Let these (seconds, function) be the only periodic functions within the context, and no row
    be enqueued yet. At its end, what was before is restored.

    For tests.
    """
    before = list(_periodic), dict(_enqueued), dict(_served)
    _periodic[:] = periodic
    _enqueued.clear()
    _served.clear()
    try:
        yield
    finally:
        _periodic[:], enqueued, served = before
        _enqueued.clear()
        _enqueued.update(enqueued)
        _served.clear()
        _served.update(served)
