"""Subscribers see every event once and in order, while writers roll back and readers are killed."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection, transaction

from protos.order_pb2 import OrderCreated
from severable.events.models import Event
from severable.events.store import VersionConflict, append
from tests.chaos.reader import SEEN
from tests.chaos.running import SERVER
from tests.processes import ROOT, environment

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("running"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(not SERVER, reason="SQLite has one writer at a time"),
]

READERS = ["reader-1", "reader-2", "reader-3"]
STREAMS = 20
HOLD = 10  # seconds


class Writers:
    """Four threads that append to the same streams. Some transactions roll back."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        try:
            while not self.stop.is_set():
                stream = f"order-{chance.randrange(STREAMS)}"
                with suppress(VersionConflict, ZeroDivisionError), transaction.atomic():
                    append(OrderCreated(order_id=stream), stream=stream)
                    time.sleep(chance.random() / 50)  # so that ids and commits come apart
                    if chance.random() < 0.05:
                        raise ZeroDivisionError
        finally:
            connection.close()


class Readers:
    """A process for each reader; what is killed is started again."""

    def __init__(self, folder: Path) -> None:
        self._env = environment(folder)
        self._running = {name: self._start(name) for name in READERS}

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos.reader", name]
        return subprocess.Popen(command, cwd=ROOT, env=self._env)

    def kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].wait()
        self._running[name] = self._start(name)

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[Readers]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {SEEN} (number bigserial PRIMARY KEY, reader text, event_id text, "
            "stream text, version integer)"
        )
    started = Readers(tmp_path)
    try:
        yield started
    finally:
        started.stop()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {SEEN}")


def seen(reader: str) -> list[tuple[str, str, int]]:
    """What a reader has seen, in its order: event, stream, version."""
    with connection.cursor() as cursor:
        query = f"SELECT event_id, stream, version FROM {SEEN} WHERE reader = %s ORDER BY number"
        cursor.execute(query, [reader])
        return cursor.fetchall()


def kill_at_work(readers: Readers, reader: str) -> None:
    """Not while it starts: once it has seen more than when it was started."""
    known = len(seen(reader))
    while len(seen(reader)) < known + 5:
        time.sleep(0.02)
    readers.kill(reader)


def shown() -> int:
    """How many events the feed shows."""
    return Event.objects.committed_after(0, 0).count()


def held_elsewhere() -> bool:
    """Whether somebody else's transaction, in another database of the same server, is open."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
            " AND datname <> current_database())"
        )
        return bool(cursor.fetchone()[0])


def keep_open(seconds: float, begun: threading.Event) -> None:
    """A transaction that has written, and takes its time."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:  # the shop's own limit is shorter
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            append(OrderCreated(order_id="slow"), stream="order-slow")
            begun.set()
            time.sleep(seconds)
    finally:
        connection.close()


def test_killed_readers_miss_nothing_and_see_nothing_twice_or_out_of_order(
    readers: Readers,
) -> None:
    """By `id > last`, three of ten events are lost on PostgreSQL; with a checkpoint apart from
    the effects, each kill loses or repeats some."""
    chance, writers = random.Random(3), Writers()
    begun = threading.Event()
    slow = threading.Thread(target=keep_open, args=(HOLD, begun))
    try:
        for _ in range(3):
            kill_at_work(readers, chance.choice(READERS))
        slow.start()
        begun.wait()
        for _ in range(3):
            readers.kill(chance.choice(READERS))
            time.sleep(HOLD / 3)
        slow.join()
    finally:
        writers.join()
    last = Event.objects.latest("transaction_id", "position")
    while not all(str(last.id) in {row[0] for row in seen(reader)} for reader in READERS):
        time.sleep(0.1)

    written = {str(pk) for pk in Event.objects.values_list("id", flat=True)}
    assert len(written) > 100
    for reader in READERS:
        found = seen(reader)
        assert {event for event, _, _ in found} == written
        assert len(found) == len(written)
        for stream in {stream for _, stream, _ in found}:
            versions = [version for _, s, version in found if s == stream]
            assert versions == list(range(1, len(versions) + 1))


def test_an_open_transaction_holds_the_feed_back_and_no_longer() -> None:
    """A feed that passes what may still appear below; one that is behind for ever after."""
    begun = threading.Event()
    slow = threading.Thread(target=keep_open, args=(3, begun))
    slow.start()
    begun.wait()
    with transaction.atomic():
        append(OrderCreated(order_id="quick"), stream="order-quick")
    assert Event.objects.count() == 1
    assert shown() == 0
    slow.join()
    ended = time.monotonic()
    others = held_elsewhere()
    while shown() < 2:
        others |= held_elsewhere()
        assert time.monotonic() - ended < 60
    assert others or time.monotonic() - ended < 1
