"""The clock: what has to be done every so often, once per deployment.

`@every(seconds)` marks a function of no arguments. The process that holds the clock's lease
calls it; it must be short, and safe to be called twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from django.apps import apps
from django.db import DatabaseError
from kombu.exceptions import OperationalError

from shop.jobs.models import Job
from shop.jobs.tasks import nudge

log = logging.getLogger(__name__)

Function = Callable[[], None]

_periodic: list[tuple[float, Function]] = []

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 20.0  # seconds
BATCH = 500


def every(seconds: float) -> Callable[[Function], Function]:
    """Decorator: call this function every so many seconds."""

    def register(function: Function) -> Function:
        _periodic.append((seconds, function))
        return function

    return register


class Clock:
    """Calls what is due. One instance a process."""

    def __init__(self) -> None:
        self._next = dict.fromkeys((function for _, function in _periodic), 0.0)

    def tick(self) -> bool:
        """Call each periodic function whose time has come. An error in one stops no other."""
        for seconds, function in _periodic:
            if monotonic() < self._next[function]:
                continue
            self._next[function] = monotonic() + seconds
            try:
                function()
            except (DatabaseError, OSError, OperationalError) as error:
                log.warning("%s: %s: %s", function.__name__, type(error).__name__, error)
            except Exception:
                log.exception("%s.%s failed", function.__module__, function.__name__)
        return False


_nudged: dict[tuple[str, str], tuple[float, float]] = {}  # when again, and after which pause


@every(seconds=0.5)
def nudge_due_jobs() -> None:
    """Bring every due row to a worker, again and again until one has taken it; ever less often, or
    the news would pile up where nobody takes it."""
    now, due = monotonic(), set()
    for model in apps.get_models():
        if not issubclass(model, Job):
            continue
        model.park_exhausted()
        for job in model.due()[:BATCH]:
            key = (model._meta.label, str(job.pk))
            due.add(key)
            again_at, pause = _nudged.get(key, (0.0, FIRST_PAUSE))
            if now >= again_at:
                _nudged[key] = now + pause, min(2 * pause, LONGEST_PAUSE)
                if _can_run(job):
                    nudge(job)
    for key in _nudged.keys() - due:
        del _nudged[key]


def _can_run(job: Job) -> bool:
    """Whether a worker of this deployment can execute a row. If not, it is parked in the end."""
    try:
        return bool(job.queue)
    except LookupError as error:
        if job.park_overdue(error):
            log.warning("%s %s is parked: %s", job._meta.label, job.pk, error)
        return False
