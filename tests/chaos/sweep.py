"""Lets the shop die at every point of a flow, recover, and checks what is left.

`VAR_DIR=<an empty folder> python -m tests.chaos.sweep FLOW [--without GUARANTEE] [--first]`

Each point has a process and a copy of the database of its own. Where the flow dies, another
process does what restarted processes would do, the customer repeats the request under the same
Idempotency-Key, and every invariant is checked. Prints a line for each violation, and at the end
how many points were visited.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import django
from django.apps import apps

if not apps.ready:
    django.setup()

from celery import current_app
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models.functions import Now
from rest_framework.test import APIClient

from apps.orders import saga
from apps.orders.models import Order
from apps.users.models import User
from severable.api.models import IdempotencyKey
from severable.config.environment import VAR
from severable.events import handlers, pending, reconciler, store
from severable.events.models import Delivery, Event
from severable.events.relay import Relay
from severable.jobs import scheduler
from severable.jobs.models import Job
from tests.chaos.crash_points import DIED, die_at
from tests.chaos.invariants import Rows, everything, violations
from tests.conftest import token_of

SKU, QUANTITY = "MUG-OAK", 2
ROUNDS = 60
Status = Order.Status


class Flow:
    """One thing that a customer or staff does, after some preparation, and how it may end."""

    def __init__(
        self,
        payment: dict[str, str],
        act: str = "place",
        prefer: str = "",
        ends: tuple[str, ...] = (),
    ) -> None:
        self.payment, self.act, self.prefer, self.ends = payment, act, prefer, ends

    def prepare(self) -> None:
        """What is there before the first point."""
        if self.act != "place":
            self._place()
            settle()

    def run(self) -> Any:
        """The request under test; again for a repetition."""
        if self.act == "place":
            return self._place()
        order = Order.objects.get()
        path = f"/api/orders/{order.id}/{self.act}"
        if self.act == "refund":
            path = f"/api/payments/{order.payment_id}/refund"
        return _client("admin").post(path, headers={"Idempotency-Key": "the act"})

    def _place(self) -> Any:
        body = {"items": [{"sku": SKU, "quantity": QUANTITY}], "payment": self.payment}
        headers = {"Idempotency-Key": "the order"} | (
            {"Prefer": self.prefer} if self.prefer else {}
        )
        return _client("alice").post("/api/orders", body, headers=headers)


def _card(token: str) -> dict[str, str]:
    return {"method": "card", "token": token}


CREDIT = {"method": "credit"}
PAID, REJECTED, CANCELLED = (Status.PAID,), (Status.REJECTED,), (Status.CANCELLED,)
FLOWS = {
    "place-card": Flow(_card("tok_visa"), ends=PAID),
    "place-credit": Flow(CREDIT, ends=PAID),
    "place-declined": Flow(_card("tok_declined"), ends=REJECTED),
    "place-unknown": Flow(_card("tok_unknown"), ends=PAID),
    "place-async": Flow(_card("tok_visa"), prefer="respond-async", ends=PAID),
    "cancel-card": Flow(_card("tok_visa"), "cancel", ends=CANCELLED),
    "cancel-credit": Flow(CREDIT, "cancel", ends=CANCELLED),
    "refund-card": Flow(_card("tok_visa"), "refund", ends=CANCELLED),
    "refund-credit": Flow(CREDIT, "refund", ends=CANCELLED),
    "ship-card": Flow(_card("tok_visa"), "ship", ends=(Status.SHIPPED,)),
}


def _client(username: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    token = token_of(User.objects.get(username=username))
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def settle() -> None:
    """Do what relay, worker and scheduler do, over the real broker, until all is quiet."""
    relay = Relay()
    for _ in range(ROUNDS):
        while relay.step():
            pass
        scheduler._enqueued.clear()
        scheduler.enqueue_due_jobs()
        if not sum(_consume()) and not relay.step():
            break
    relay.close()


def _consume() -> Iterator[int]:
    """Run the task of every message that is there, then acknowledge it."""
    with current_app.connection_for_read() as broker:
        channel: Any = broker.default_channel
        for queue in current_app.conf.task_queues:
            queue(channel).declare()
            while message := queue(channel).get():
                args, _, _ = message.decode()
                task = current_app.tasks[message.headers["task"]]
                task.push_request(headers={"queue": queue.name}, delivery_info={})
                try:
                    task.run(*args)
                finally:
                    task.pop_request()
                message.ack()
                yield 1


def recover(flow: Flow, before: Rows) -> list[str]:
    """Let time pass, restart everything, have the customer repeat the request; what is wrong."""
    reconciler.STALLED = reconciler.OVERTAKEN = 0.0
    reconciler.GRACE = type(reconciler.GRACE)(0)
    IdempotencyKey.objects.filter(status=None).update(locked_until=Now())
    answer = flow.run()
    for _ in range(ROUNDS):
        _let_time_pass()
        settle()
        reconciler.reconcile()
        if _quiet():
            break
    wrong = list(_violations(flow, before))
    if answer.status_code >= 500:
        wrong.append(f"the repeated request was answered with {answer.status_code}")
    return wrong


def _let_time_pass() -> None:
    """Leases and pauses are over."""
    for model in _jobs():
        model._default_manager.filter(state=Job.State.WAITING).update(due_at=Now())


def _jobs() -> Iterator[type[Job]]:
    return (model for model in apps.get_models() if issubclass(model, Job))


def _quiet() -> bool:
    waiting = any(
        model._default_manager.filter(state=Job.State.WAITING).exists() for model in _jobs()
    )
    return not waiting and not _undelivered()


def _undelivered() -> set[tuple[UUID, str]]:
    wanted = {
        (event.id, handler.name)
        for event in Event.objects.all()
        for handler in handlers.registered(type=event.type)
    }
    done = Delivery.objects.filter(state=Job.State.DONE).values_list("event_id", "handler")
    return wanted - set(done)


def _violations(flow: Flow, before: Rows) -> Iterator[str]:
    """Every invariant that does not hold."""
    for model in _jobs():
        for job in model._default_manager.exclude(state=Job.State.DONE):
            yield f"{model.__name__} {job} is {job.state}: {job.error}"
    for _, handler in _undelivered():
        yield f"{handler} has not had an event"
    orders = list(Order.objects.all())
    if len(orders) != 1:
        yield f"{len(orders)} orders"
        return
    if orders[0].status not in flow.ends:
        yield f"the order is {orders[0].status}, not {' or '.join(flow.ends)}"
    yield from violations(before, everything([_read]))


def _read(model: type[models.Model], columns: tuple[str, ...]) -> Any:
    return model._default_manager.values_list(*columns)


def without(guarantee: str) -> None:
    """Turn a guarantee off, so that the sweep has something to find."""
    BROKEN[guarantee]()


def _no_compensation() -> None:
    for name in ("refund", "release"):
        setattr(saga, name, lambda data: None)
    steps = tuple(
        type(step)(
            step.name,
            step.action,
            (lambda data: None) if step.compensation else None,
            step.on_success,
        )
        for step in saga.PLACE.steps
    )
    object.__setattr__(saga.PLACE, "steps", steps)


def _no_outbox() -> None:
    append: Any = store._append

    def afterwards(event: Event) -> None:
        transaction.on_commit(lambda: append(event))

    vars(store)["_append"] = afterwards


def _no_deduplication() -> None:
    vars(pending)["insert_done"] = lambda events, handler: {event.id for event in events}


BROKEN: dict[str, Callable[[], None]] = {
    "compensation": _no_compensation,
    "outbox": _no_outbox,
    "deduplication": _no_deduplication,
}


def _in_a_process(work: Callable[[], int]) -> int:
    """Run this in a process of its own, and return its exit code."""
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(work())
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _fresh(base: Path) -> None:
    for name in ("broker", "mail"):
        shutil.rmtree(VAR / name, ignore_errors=True)
    for file in VAR.glob("db.sqlite3*"):
        file.unlink()
    shutil.copy(base, VAR / "db.sqlite3")


def _prepare(flow: Flow) -> tuple[Path, Rows]:
    """The database before the first point, and what was in it before anything happened."""

    def empty() -> int:
        call_command("prepare", verbosity=0)
        settle()
        return 0

    def begun() -> int:
        flow.prepare()
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return 0

    if _in_a_process(empty):
        sys.exit("could not prepare the shop")
    before = everything([_read])
    if _in_a_process(begun):
        sys.exit("could not prepare the flow")
    base = VAR / "base"
    shutil.copy(VAR / "db.sqlite3", base)
    return base, before


def sweep(flow: Flow, base: Path, before: Rows, first: bool) -> tuple[int, int]:
    """Die at every point of a flow. Returns how many there were, and how many violations."""
    point = broken = 0
    while True:
        point += 1
        _fresh(base)

        def die(at: int = point) -> int:
            die_at(at).install()
            flow.run()
            settle()
            _let_time_pass()  # what was unknown is asked for again
            settle()
            return 0

        def check(at: int = point) -> int:
            wrong = recover(flow, before)
            for line in wrong:
                print(f"VIOLATION at point {at}: {line}", flush=True)
            return min(len(wrong), 100)

        code = _in_a_process(die)
        if code not in (0, DIED):
            sys.exit(f"the flow itself failed at point {point}")
        broken += _in_a_process(check)
        if code == 0 or (first and broken):
            return point - 1, broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument("--without", choices=BROKEN)
    parser.add_argument("--first", action="store_true", help="end at the first violation")
    options = parser.parse_args()
    flow = FLOWS[options.flow]
    base, before = _prepare(flow)
    if options.without:
        without(options.without)
    visited, broken = sweep(flow, base, before, options.first)
    print(f"{options.flow}: {visited} points visited, {broken} violations")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
