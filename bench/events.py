"""What an event costs, from its commit to its finished handler, beside an empty Celery task.

`DATABASE_URL=postgres://… BROKER_URL=amqp://… python -m bench.events`, with a database server in
which it may create a database and a RabbitMQ that nobody else uses meanwhile. Both sides run on
the same broker, with the same worker, in turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
SERVER = os.environ.get("DATABASE_URL", "")
if not SERVER.startswith("postgres") or not os.environ.get("BROKER_URL", "").startswith("amqp"):
    sys.exit("bench.events: DATABASE_URL (postgres://…) and BROKER_URL (amqp://…) must be set")
os.environ["DATABASE_URL"] = f"{SERVER.rpartition('/')[0]}/shop_bench_{uuid4().hex[:8]}"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
os.environ.setdefault("VAR_DIR", tempfile.mkdtemp())
os.environ.setdefault("LOG_LEVEL", "ERROR")

from bench.notifications import app, empty  # noqa: E402  # sets Django up

# isort: split
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from protos.payment_pb2 import PaymentReceived  # noqa: E402
from severable.events.models import Delivery  # noqa: E402
from severable.events.store import append  # noqa: E402

EVENTS, ROUNDS, IDLE, APPENDS = 4000, 3, 60, 400
QUEUE, PATIENCE = "notifications", 120


def main() -> None:
    call_command("prepare", stdout=StringIO())
    try:
        table = Table(title="Events on PostgreSQL and RabbitMQ")
        for heading in ("", "", "of its floor"):
            table.add_column(heading, justify="right" if heading else "left")
        bare, own = zip(*((bare_rate(), event_rate()) for _ in range(ROUNDS)), strict=True)
        tasks, events = statistics.median(bare), statistics.median(own)
        table.add_row("empty Celery tasks, a second", f"{tasks:.0f}", "")
        table.add_row("events handled once, a second", f"{events:.0f}", f"{events / tasks:.2f} ×")
        idle = idle_latency()
        table.add_row("commit to finished handler, idle, p50", f"{idle * 1e3:.1f} ms", "")
        without, appended = append_cost()
        table.add_row("a transaction", f"{without * 1e3:.2f} ms", "")
        more = (appended - without) * 1e3
        table.add_row("a transaction with an event", f"{appended * 1e3:.2f} ms", f"+ {more:.2f} ms")
        Console().print(table)
    finally:
        clear()
        name = str(connection.settings_dict["NAME"])
        connection.close()
        connection.close_pool()
        with connection._nodb_cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


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
    """Wait until something is so; not for ever, where a worker has died."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench.events: not done within {PATIENCE} s")
        time.sleep(every)


def idle_latency() -> float:
    """Seconds, the median of single events that come to an idle shop."""
    clear()
    with running(worker(), [sys.executable, "manage.py", "relay"]):
        append_all(range(1))
        until(Delivery.objects.exclude(done_at=None).exists)
        taken = []
        for number in range(IDLE):
            time.sleep(0.1 + number * 0.003)  # not in step with whoever polls
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
