"""Poison in the queue: it is parked after its attempts, and a thousand others are handled."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction
from kombu import Connection

from protos.payment_pb2 import PaymentReceived
from severable.events.models import Delivery, MalformedMessage
from severable.events.store import append
from severable.jobs.models import Lease
from tests.chaos.poison import ATTEMPTS, CRASH, CURED, LONG_AGO, RAISE
from tests.machine import eventually
from tests.processes import environment
from tools.processes import Child, Supervisor

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("running"),
]

GOOD = 1000
QUEUE = "notifications"
# RabbitMQ brings a message eight times that kills its worker; then each event has as many attempts
# of its own, of which the last that ends without a word is counted when it is due again.
MOST_ATTEMPTS = 8 + 8


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Connection]:
    """The one that is configured, or an embedded one in a folder of its own."""
    options = dict(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
    if settings.EMBEDDED_BROKER:
        (tmp_path / "broker" / "messages").mkdir(parents=True)
        options["data_folder_in"] = options["data_folder_out"] = str(tmp_path / "broker/messages")
        options["control_folder"] = str(tmp_path / "broker/bindings")
    with Connection(settings.CELERY_BROKER_URL, transport_options=options) as connection:
        yield connection


@pytest.fixture
def running(tmp_path: Path, broker: Connection) -> Iterator[None]:
    broker.default_channel.queue_delete(QUEUE)  # what others have left there
    env = environment(tmp_path)
    worker = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tests.chaos.poisoned"]
    worker += ["--quiet", "worker", "--loglevel", "error", "-Q", QUEUE, "-P", "threads", "-c", "2"]
    worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    supervisor = Supervisor(
        [
            Child("worker", worker, env),
            Child("relay", [sys.executable, "-m", "tests.chaos.poisoned"], env),
        ]
    )
    thread = threading.Thread(target=supervisor.run, args=(lambda stopping: None,))
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join()


def pay(*payments: str) -> None:
    for first in range(0, len(payments), 100):
        with transaction.atomic():
            for payment in payments[first : first + 100]:
                append(PaymentReceived(payment_id=payment), stream=f"payment-{payment}")


def effects() -> Counter[str]:
    had = Lease.objects.filter(expires_at=LONG_AGO)
    return Counter(name.split()[0] for name in had.values_list("name", flat=True))


def test_poison_is_parked_and_all_others_are_handled(
    running: None, broker: Connection, tmp_path: Path
) -> None:
    """One that kills its worker, one that always fails, one that is no JSON, among a thousand."""
    good = [f"p{number}" for number in range(GOOD)]
    pay(*good[: GOOD // 2], CRASH, RAISE)
    eventually(lambda: effects().total() > 0)
    broker.Producer().publish(
        "{broken",
        exchange="",
        routing_key=QUEUE,
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "severable.events.deliver"},
    )
    pay(*good[GOOD // 2 :])

    eventually(lambda: set(effects()) >= set(good), within=300)
    parked = Delivery.objects.filter(state=Delivery.State.PARKED)
    eventually(lambda: parked.count() == 2, within=300)
    assert effects() == dict.fromkeys(good, 1)
    # Kept twice, where the worker was killed before it could say that it had it.
    assert set(MalformedMessage.objects.values_list("queue", flat=True)) == {QUEUE}
    told = {row.stream: row.error for row in parked}
    assert told["payment-raise"] == "ValueError: poison"
    assert told["payment-crash"] == "the process died in the last attempt"
    attempts = Counter((tmp_path / ATTEMPTS).read_text().split())
    print(attempts)  # noqa: T201
    assert attempts[RAISE] <= MOST_ATTEMPTS >= attempts[CRASH]

    (tmp_path / CURED).touch()
    for row in parked:
        row.retry_now()
    eventually(lambda: effects() == dict.fromkeys([*good, CRASH, RAISE], 1))
