"""Lets a test run what worker, relay and clock would do, in its own thread and to the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.apps import apps
from django.test import TestCase

from severable.events import delivery, handlers
from severable.events.models import Delivery, Event
from severable.events.store import envelope
from severable.jobs.models import Job


def settle() -> None:
    """Deliver every event to every handler and do every job that is due, until all is quiet."""
    while deliver_events() or do_jobs():
        pass


def deliver_events() -> int:
    """Deliver what no handler has had yet. Says how many deliveries were made."""
    made = 0
    for event in Event.objects.order_by("position"):
        for handler in handlers.registered(type=event.type):
            if Delivery.objects.filter(event_id=event.id, handler=handler.name).exists():
                continue
            with TestCase.captureOnCommitCallbacks(execute=True):
                delivery.handle([envelope(event)], handler)
            made += 1
    return made


def do_jobs() -> int:
    """Do what is due now. Says how much that was."""
    done = 0
    for model in apps.get_models():
        if issubclass(model, Job):
            for row in list(model.due()):
                job = model.claim(row.pk)
                if job:
                    with TestCase.captureOnCommitCallbacks(execute=True):
                        job.attempt()
                    done += 1
    return done


def eventually(condition: Callable[[], bool], within: float = 60) -> None:
    """Wait until something is so, for so many seconds. A transaction that another test holds open
    on the same PostgreSQL keeps later events back: rightly, so this is patient."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)
