"""A database that is restored, moved or set back: every reader goes on after its last event."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environ
import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.utils import load_backend

from severable.events import feed
from severable.events.models import Event, RelayPosition
from tests.events.recorded import recorded
from tests.machine import eventually
from tests.postgres import Cluster, cluster, needs_clusters

TYPES = ["order.OrderCreated"]


@contextmanager
def using(url: str) -> Iterator[None]:
    """Django's database is this one, for as long as the block lasts."""
    before, settings = connections["default"], connections.settings["default"]
    given = {**settings, "OPTIONS": {}, **environ.Env.db_url_config(url)}
    connections.settings["default"] = given
    connections["default"] = load_backend(given["ENGINE"]).DatabaseWrapper(given, "default")
    try:
        yield
    finally:
        connection.close()
        connections.settings["default"], connections["default"] = settings, before


@dataclass
class Readers:
    """A relay in the database itself, and a reader elsewhere, which keeps its position."""

    reached: feed.Position = feed.START
    read: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)

    def publish(self) -> None:
        relay, _ = RelayPosition.objects.get_or_create(name="relay")
        for event in Event.objects.committed_after(relay.transaction_id, relay.position):
            self.published.append(str(event.id))
            relay.advance_to(event)
            relay.refresh_from_db()

    def look(self) -> None:
        page = feed.read("orders", TYPES, self.reached)
        self.reached = page.end
        self.read += [event.id for event in page.events]

    def all_of(self, events: list[Event]) -> None:
        """Wait until both have come to the last of these, and see that they had each once."""
        ids = [str(event.id) for event in events]
        before = len(self.read), len(self.published)

        def through() -> bool:
            self.publish()
            self.look()
            return len(self.read) >= before[0] + len(ids)

        eventually(through, within=10)
        assert self.read[before[0] :] == ids
        assert self.published[before[1] :] == ids


@pytest.fixture
def readers(django_db_blocker: Any) -> Iterator[Readers]:
    with django_db_blocker.unblock():
        yield Readers()


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Cluster]]:
    """One with low transaction ids, and one that has had billions of transactions."""
    with cluster() as low, cluster(epoch=5) as high:
        yield {"low": low, "high": high}


@pytest.fixture(scope="module")
def empty(clusters: dict[str, Cluster], django_db_blocker: Any) -> str:
    """The dump of a shop's database without rows."""
    url = clusters["low"].restore("", "empty")
    with django_db_blocker.unblock(), using(url):
        call_command("migrate", verbosity=0)
    return clusters["low"].dump("empty")


@needs_clusters
@pytest.mark.parametrize(("first", "second"), [("low", "high"), ("high", "low")])
def test_readers_go_on_after_a_restore_into_another_cluster(
    clusters: dict[str, Cluster], empty: str, readers: Readers, first: str, second: str
) -> None:
    """Into one with lower transaction ids new events sorted before every position; from one with
    higher ones, the restored events waited for ids that come in years."""
    name = f"from_{first}"
    with using(clusters[first].restore(empty, name)):
        readers.all_of(recorded(3))
        unread = recorded(2)
    with using(clusters[second].restore(clusters[first].dump(name), name)):
        readers.all_of(unread)
        readers.all_of(recorded(3))
    back = clusters[first].restore(clusters[second].dump(name), f"{name}_and_back")
    with using(back):  # that server has run all the time
        readers.all_of(recorded(3))


@needs_clusters
@pytest.mark.parametrize(("first", "second"), [("low", "high"), ("high", "low")])
def test_readers_go_on_after_a_restore_of_an_older_state(
    clusters: dict[str, Cluster], empty: str, readers: Readers, first: str, second: str
) -> None:
    """What readers have had and the database has lost hid all that came afterwards."""
    name = f"older_from_{first}"
    with using(clusters[first].restore(empty, name)):
        readers.all_of(recorded(2))
        backup = clusters[first].dump(name)
        readers.all_of(recorded(5))
    for into in (second, first, second):
        with using(clusters[into].restore(backup, f"{name}_{len(readers.read)}")):
            readers.all_of(recorded(2))


@needs_clusters
def test_readers_go_on_after_the_disk_was_set_back(
    clusters: dict[str, Cluster], empty: str, readers: Readers
) -> None:
    """A snapshot of a volume: the same cluster, the same timeline, and ids that come twice."""
    with cluster() as server:
        url = server.restore(empty, "shop")
        with using(url):
            readers.all_of(recorded(2))
        server.stop()
        snapshot = server.folder / "snapshot"
        subprocess.run(["cp", "-a", server.data, snapshot], check=True)
        server.start()
        with using(url):
            readers.all_of(recorded(5))
        server.stop()
        shutil.rmtree(server.data)
        snapshot.rename(server.data)
        server.start()
        with using(url):
            readers.all_of(recorded(2))


def test_readers_go_on_after_the_file_was_set_back(tmp_path: Path, readers: Readers) -> None:
    """SQLite gives the same ids again."""
    url, backup = f"sqlite:///{tmp_path}/db.sqlite3", tmp_path / "backup"
    with using(url):
        call_command("migrate", verbosity=0)
        readers.all_of(recorded(2))
        with sqlite3.connect(backup) as copy:
            connection.connection.backup(copy)
        readers.all_of(recorded(5))
    for left in ("db.sqlite3-wal", "db.sqlite3-shm"):
        (tmp_path / left).unlink(missing_ok=True)
    shutil.copy(backup, tmp_path / "db.sqlite3")
    with using(url):
        readers.all_of(recorded(2))
