"""RabbitMQ dies, hangs, fills up and forgets: the shop goes on, and every effect comes."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.chaos.rabbitmq import SERVER, RabbitMQ
from tests.chaos.running import Shop

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("running"),
    pytest.mark.skipif(SERVER is None, reason="no rabbitmq-server is installed"),
]

# How long each trouble lasts, in seconds.
TROUBLE = float(os.environ.get("CHAOS_SECONDS", "15"))
ORDER = {
    "items": [{"sku": "MUG-OAK", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    node = RabbitMQ(tmp_path / "rabbitmq")
    node.start()
    try:
        yield node
    finally:
        node.kill()


@pytest.fixture
def shop(tmp_path: Path, rabbitmq: RabbitMQ) -> Iterator[Shop]:
    (tmp_path / "shop").mkdir()
    running = Shop(tmp_path / "shop", environment={"BROKER_URL": rabbitmq.url})
    try:
        running.start()
        yield running
    finally:
        running.close()


class Customers:
    """Place orders all the time, and note how long each answer took."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.placed: set[str] = set()
        self.wrong: list[Any] = []
        self.taken: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Customers:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            headers = self._shop.sign_in("alice")
            began = time.perf_counter()
            status, order = self._shop.request("POST", "/api/orders", ORDER, **headers)
            self.taken.append(time.perf_counter() - began)
            if status in (201, 202):
                self.placed.add(order["id"])
            else:
                self.wrong.append((status, order))
            self._stop.wait(0.4)  # two cores do not keep up with more

    def during(self, trouble: Callable[[], None]) -> list[float]:
        """How long the answers took while something went wrong."""
        start = len(self.taken)
        trouble()
        return self.taken[start:]


def killed_twice(node: RabbitMQ) -> None:
    for _ in range(2):
        node.kill()
        time.sleep(TROUBLE / 4)
        node.start()


def frozen(node: RabbitMQ) -> None:
    node.signal(signal.SIGSTOP)
    time.sleep(TROUBLE)
    node.signal(signal.SIGCONT)


def full(node: RabbitMQ) -> None:
    node.control("set_disk_free_limit", "9000GB")
    time.sleep(TROUBLE)
    node.control("set_disk_free_limit", "50MB")


def emptied(node: RabbitMQ) -> None:
    for _ in range(3):
        node.delete_queues(list(settings.DEPLOYMENT.queues))
        time.sleep(TROUBLE / 3)


def p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


def test_whatever_happens_to_rabbitmq_every_order_has_its_effects(
    shop: Shop, rabbitmq: RabbitMQ
) -> None:
    """All by itself, within a minute of the broker's return; and no request waits for it."""
    shop.fill_the_shelves("MUG-OAK")
    with Customers(shop) as customers:
        before = p99(customers.during(lambda: time.sleep(TROUBLE)))
        for trouble in (killed_twice, frozen, full, emptied):
            during = p99(customers.during(lambda t=trouble: t(rabbitmq)))  # type: ignore[misc]
            healed = time.monotonic()
            known = set(customers.placed)
            shop.eventually(lambda known=known: told(shop) >= known, within=60)  # type: ignore[misc]
            print(  # noqa: T201
                f"{trouble.__name__}: {len(known)} orders, p99 {during / before:.2f} x of before, "
                f"all effects {time.monotonic() - healed:.1f} s after it healed"
            )
    assert not customers.wrong
    shop.eventually(lambda: told(shop) == customers.placed, within=60)
    mails = Counter(mail_of(text) for text in shop.mails("order.OrderPaid"))
    assert set(mails.values()) == {1}


def told(shop: Shop, read: dict[Path, str] = {}) -> set[str]:  # noqa: B006  # each file once
    """The orders whose customers have had the mail that they are paid."""
    files = set((shop.folder / "mail").glob("order.OrderPaid.*.eml"))
    for file in files - read.keys():
        read[file] = mail_of(file.read_text())
    return {read[file] for file in files}


def mail_of(text: str) -> str:
    """The order that a mail is about: its last word."""
    return text.rsplit(maxsplit=1)[-1]
