"""A minute of orders while something is wrong: the shop stays alive, orders go on, and afterwards
nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests.chaos.invariants import everything, lost_or_doubled, violations
from tests.chaos.people import SKUS, People
from tests.chaos.running import Shop, descendants
from tests.differential import state
from tests.front.asking import held
from tests.front.test_attacks import address, http2_upload, upload
from tests.notifications.smtp import mail_server

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
ALIVE = 1.0  # seconds, within which 99 of 100 are told that the shop lives
GAP = 15.0  # seconds in which at least one order is accepted
MAIL_SECONDS = 5.0
SETTLING = 600.0  # seconds at most, on a machine that is busy with other things

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("running"),
    pytest.mark.timeout(SECONDS + SETTLING + 200),
]
ON_POSTGRESQL = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one lock, and ends nobody's transaction"
)


class Life:
    """Asks ten times a second whether the shop lives, and notes how long each answer took."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._stop = shop, threading.Event()
        self.took, self.wrong = list[float](), list[object]()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            began = time.monotonic()
            try:
                status = self._shop.request("GET", "/health/live")[0]
            except OSError as error:
                status = error
            self.took.append(time.monotonic() - began)
            if status != 200:
                self.wrong.append(status)

    def p99(self) -> float:
        return statistics.quantiles(self.took, n=100)[98]


@contextmanager
def again_and_again(act: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            with suppress(OSError):
                act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def http2_aborts(shop: Shop) -> AbstractContextManager[None]:
    def act() -> None:
        with held(address(shop), 16, http2_upload()):
            time.sleep(0.1)

    return again_and_again(act)


def slow_bodies(shop: Shop) -> AbstractContextManager[None]:
    """200 of which one byte came. They are answered 408 after some seconds, and come again."""

    def act() -> None:
        with held(address(shop), 200, upload(100, b"{")) as connections:
            connections[0].settimeout(30)
            connections[0].recv(1)

    return again_and_again(act)


@contextmanager
def frozen_context(shop: Shop) -> Iterator[None]:
    """All processes of payments, until the end."""
    parents = [shop.process("payments", sign) for sign in ("granian", "worker", "relay")]
    frozen = [pid for parent in parents if parent for pid in descendants(parent)]
    assert len(frozen) >= 4
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen_transaction(shop: Shop) -> Iterator[None]:
    """The worker, before a commit (tests/chaos/dying), until the supervisor notices."""
    folder = shop.folder / "deaths"
    (folder / "freezing").touch()
    yield
    assert "celery" in (folder / "log").read_text(), "no worker was frozen"


@contextmanager
def locked_row(shop: Shop) -> Iterator[None]:
    """A product that half of the orders want."""
    with psycopg.connect(shop.database_url) as other:
        other.execute("SELECT * FROM inventory_product WHERE sku = %s FOR UPDATE", [SKUS[0]])
        yield
        other.rollback()


class SlowMails:
    """As a fault: a mail server that takes seconds for each mail."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def pause(self, verb: str) -> None:
        if verb == "MESSAGE":
            time.sleep(self._seconds)

    @contextmanager
    def __call__(self, shop: Shop) -> Iterator[None]:
        self._seconds = MAIL_SECONDS
        yield
        self._seconds = 0.0


def assert_goes_on(shop: Shop, placement: str, fault: Callable[[Shop], object]) -> None:
    """Orders are placed, cancelled, refunded and shipped during a fault, and all that was promised
    holds after it."""
    for sku in SKUS:
        shop.fill_the_shelves(sku)
    before = everything(state.databases(shop, placement))
    people, life = People(shop), Life(shop)
    began = time.monotonic()
    with fault(shop), people.acting(), life.watched():  # type: ignore[attr-defined]
        time.sleep(SECONDS)
    ended = time.monotonic()
    shop.eventually(lambda: state.settled(shop, placement), within=SETTLING)
    settled = time.monotonic() - ended
    found = everything(state.databases(shop, placement))
    moments = [began, *sorted(people.accepted), began + SECONDS]
    gap = max(later - earlier for earlier, later in pairwise(moments))
    print(  # noqa: T201
        f"\n{len(people.placed)} orders, longest gap {gap:.1f} s; alive in {life.p99():.3f} s (p99 "
        f"of {len(life.took)}, worst {max(life.took):.3f} s); settled after {settled:.1f} s; "
        f"{dict(people.acts)}"
    )
    assert life.wrong + people.wrong == []
    assert [*violations(before, found), *lost_or_doubled(people.placed, found)] == []
    assert life.p99() <= ALIVE
    assert gap <= GAP


FAULTS = [
    pytest.param("one", http2_aborts, id="HTTP/2 aborts"),
    pytest.param("one", slow_bodies, id="200 slow bodies"),
    pytest.param("split", frozen_context, id="a frozen context"),
    pytest.param("one", frozen_transaction, id="a frozen transaction", marks=ON_POSTGRESQL),
    pytest.param("one", locked_row, id="a locked row", marks=ON_POSTGRESQL),
]


@pytest.mark.parametrize(("placement", "fault"), FAULTS)
def test_orders_go_on_and_nothing_is_lost(
    tmp_path: Path, placement: str, fault: Callable[[Shop], object]
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    environment = {
        "DEATHS": str(deaths),
        "PYTHONPATH": str(Path(__file__).with_name("dying")),
        "FROZEN_SECONDS": "0" if fault is frozen_context else "45",
    }
    shop = Shop(tmp_path, placement, environment=environment)
    try:
        shop.start()
        assert_goes_on(shop, placement, fault)
    finally:
        shop.close()


def test_a_slow_mail_server_holds_up_no_order(tmp_path: Path) -> None:
    """And each mail is sent once."""
    slow = SlowMails()
    with mail_server(slow.pause) as server:
        shop = Shop(tmp_path, environment={"EMAIL_URL": f"smtp://127.0.0.1:{server.port}"})
        try:
            shop.start()
            assert_goes_on(shop, "one", slow)
        finally:
            shop.close()
    assert len(server.messages) == len(set(server.messages)) > 0
