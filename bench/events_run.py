"""Measures events and empty Celery tasks in the database and virtual host of the environment, and
prints the figures as JSON: bench/events.py."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from uuid import uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from bench import servers
from bench.notifications import app, empty  # sets Django up
from bench.start import ROOT

# isort: split
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction

from protos.payment_pb2 import PaymentReceived
from severable.events.models import Delivery
from severable.events.store import append

IDLE, APPENDS = 60, 400
ROUNDS, EVENTS = map(int, sys.argv[1:])
QUEUE, TIMEOUT = "notifications", 120.0


def main() -> None:
    """Measure, and print the figures."""
    servers.end_on_signals()
    call_command("prepare", stdout=StringIO())
    tasks, events = zip(*((bare_rate(), event_rate()) for _ in range(ROUNDS)), strict=True)
    without, appended = append_cost()
    figures = {"tasks": tasks, "events": events, "idle": idle_latency()}
    print(json.dumps(figures | {"without": without, "with": appended}))


def bare_rate() -> float:
    """Empty tasks a second: all wait on the broker when the worker starts."""
    clear()
    for _ in range(EVENTS):
        empty.apply_async(queue=QUEUE)
    with running(worker()):
        return rate(lambda: EVENTS - waiting())


def event_rate() -> float:
    """Events a second: all are committed, none published, when relay and worker start."""
    clear()
    for start in range(0, EVENTS, 100):
        append_all(range(start, start + 100))
    with running(worker(), [sys.executable, "manage.py", "relay"]):
        return rate(Delivery.objects.filter(state=Delivery.State.DONE).count)


def rate(done: Callable[[], int]) -> float:
    """How many a second, from the first that is seen to be done to the last."""
    until(lambda: done() > 0)
    first, began = done(), time.perf_counter()
    until(lambda: done() >= EVENTS, every=0.02)
    return (EVENTS - first) / (time.perf_counter() - began)


def until(condition: Callable[[], Any], every: float = 0.005) -> None:
    """Wait until a condition holds. Exits after a while: a worker may have died."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench.events: not done within {TIMEOUT:.0f} s")
        time.sleep(every)


def idle_latency() -> float:
    """Seconds, the median of single events that come to an idle shop."""
    clear()
    with running(worker(), [sys.executable, "manage.py", "relay"]):
        append_all(range(1))
        until(Delivery.objects.exclude(done_at=None).exists)
        taken = []
        for number in range(IDLE):
            time.sleep(0.1 + number * 0.003)  # not in step with what polls
            (event,) = append_all([number])
            committed = time.time()
            done = Delivery.objects.filter(event_id=event.id).exclude(done_at=None)
            until(done.exists)
            taken.append(done.values_list("done_at", flat=True).get().timestamp() - committed)
        return statistics.median(taken)


def append_cost() -> tuple[float, float]:
    """Seconds that a transaction takes that changes a row, without and with an event."""
    user = get_user_model().objects.earliest("pk")
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * APPENDS):
        with_event = bool(number % 2)
        began = time.perf_counter()
        with transaction.atomic():
            user.save(update_fields=["last_login"])
            if with_event:
                append(PaymentReceived(payment_id="p"), stream=f"payment-{uuid4()}")
        taken[with_event].append(time.perf_counter() - began)
    return statistics.median(taken[False]), statistics.median(taken[True])


def append_all(numbers: Any) -> list[Any]:
    with transaction.atomic():
        return [
            append(PaymentReceived(payment_id=f"p{number}"), stream=f"payment-{uuid4()}")
            for number in numbers
        ]


def worker() -> list[str]:
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "bench.notifications"]
    command += ["--quiet", "worker", "--loglevel", "error", "-Q", QUEUE, "-P", "threads", "-c", "4"]
    return [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"]


@contextmanager
def running(*commands: list[str]) -> Iterator[None]:
    children = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    try:
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def clear() -> None:
    """Nothing waits, nothing is done."""
    with connection.cursor() as cursor:
        for table in ("event", "delivery", "relayposition", "subscription"):
            cursor.execute(f"TRUNCATE severable_events_{table}")
    with app.connection_for_write() as broker:
        for queue in app.conf.task_queues:
            queue(broker.default_channel).declare()
            broker.default_channel.queue_purge(queue.name)


def waiting() -> int:
    with app.connection_for_write() as broker:
        declared = broker.default_channel.queue_declare(QUEUE, passive=True)
        return int(declared.message_count)


if __name__ == "__main__":
    main()
