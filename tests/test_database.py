"""Waits for the database end: for a lock, for a statement, for a process that is frozen."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from severable.config.database import process_kind
from severable.config.postgresql.base import check
from severable.events import status
from severable.jobs.models import Job, Lease
from tests.chaos.running import Shop
from tests.events.recorded import recorded
from tests.machine import eventually
from tests.processes import ROOT, environment
from tests.threads import together

ON_POSTGRESQL = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite ends no transaction of another process"
)

FREEZES = """
import django; django.setup()
import os, signal
from django.db import transaction
from severable.jobs.models import Lease
from severable.events.store import append
from protos.order_pb2 import OrderShipped
Lease.objects.create(name="wanted", holder="nobody", expires_at="2020-01-01T00:00Z")
with transaction.atomic():
    append(OrderShipped(order_id="o1"), stream="o1")
    Lease.objects.filter(name="wanted").update(holder="frozen")
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


def seconds(name: str) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int, unit FROM pg_settings WHERE name = %s", [name])
        value, unit = cursor.fetchone()
    return float(value / {"ms": 1000, "s": 1}[unit])


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_every_wait_of_a_session_ends_before_a_lease_does() -> None:
    """A row that is locked stops all that is asynchronous, and then the API."""
    lease = Job.lease.total_seconds()
    for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
        assert 0 < seconds(name) < lease, name
    params = connection.get_connection_params()
    probes = params["keepalives_interval"] * params["keepalives_count"]
    assert params["keepalives_idle"] + probes < lease
    assert params["tcp_user_timeout"] / 1000 < lease


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_a_migration_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index on a large table would be given up after the seconds of a request."""
    from django.core.management.commands import migrate

    seen = []
    monkeypatch.setattr(
        migrate.Command, "handle", lambda *_, **__: seen.append(setting("statement_timeout"))
    )
    before = setting("statement_timeout")
    call_command("migrate")
    assert seen == ["0"]
    assert setting("statement_timeout") == before != "0"


@contextmanager
def locked_lease() -> Iterator[None]:
    """Somebody else holds the row's lock, and with SQLite the whole database, until the end."""
    url = environment(Path())["DATABASE_URL"]
    if connection.vendor == "sqlite":
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()
    else:
        with psycopg.connect(url) as server:
            server.execute("UPDATE severable_jobs_lease SET holder = 'other' WHERE name = 'wanted'")
            yield
            server.rollback()


@pytest.mark.django_db(transaction=True)
def test_a_lock_that_is_not_had_is_an_error_and_no_hang() -> None:
    """Without a limit this waits until the lock's owner ends, which may be never."""
    Lease.objects.create(name="wanted", holder="nobody", expires_at="2020-01-01T00:00Z")
    with locked_lease(), pytest.raises(OperationalError):
        Lease.acquire("wanted", "us", 60)
    assert Lease.acquire("wanted", "us", 60)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands still inside a transaction, in which it has written."""
    env = environment(tmp_path) | {"DJANGO_SETTINGS_MODULE": "shop.settings"}
    process = subprocess.Popen([sys.executable, "-c", FREEZES], cwd=ROOT, env=env)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_others_go_on_when_a_process_freezes_inside_a_transaction(
    frozen: subprocess.Popen[bytes],
) -> None:
    """Its row stays locked and the feed stands still, for as long as the process is frozen."""
    (event,) = recorded(1)

    def seen() -> bool:
        return bool(status.Event.objects.committed_after(0, 0).filter(pk=event.pk).exists())

    def named() -> bool:
        oldest = status.oldest_transaction()
        return bool(oldest and oldest.application.endswith(f" {frozen.pid}"))

    eventually(named, within=5)  # the transactions of other tests end before
    eventually(seen, within=30)
    assert Lease.acquire("wanted", "us", 60)


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_the_transaction_that_holds_the_feed_back_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The feed stands still, and its figures say that all is read."""
    with psycopg.connect(environment(Path())["DATABASE_URL"], application_name="a dump") as other:
        pid = other.info.backend_pid
        other.execute("CREATE TEMPORARY TABLE written (id int)")

        def oldest() -> int | None:
            found = status.oldest_transaction()
            return found.pid if found else None

        eventually(lambda: oldest() == pid)  # those of other tests end before
        monkeypatch.setattr(status, "LONG_TRANSACTION", 3600)
        assert not any(f"a dump (pid {pid})" in line for line in status.status().problems(60))
        monkeypatch.setattr(status, "LONG_TRANSACTION", -1)
        found = status.status()
        assert any(f"a dump (pid {pid})" in line for line in found.problems(60))
        assert "oldest_transaction" in found.as_json()


@ON_POSTGRESQL
@pytest.mark.timeout(120)
@pytest.mark.xdist_group("running")
def test_requests_for_a_locked_row_end_and_let_others_in(shop: Shop) -> None:
    """Eight requests took all threads until the lock was released: the shop was dead meanwhile."""
    headers = shop.sign_in("alice")
    order = {
        "items": [{"sku": "MUG-OAK", "quantity": 1}],
        "payment": {"method": "card", "token": "tok_visa"},
    }
    with psycopg.connect(shop._env["DATABASE_URL"]) as other:
        other.execute("SELECT * FROM inventory_product WHERE sku = 'MUG-OAK' FOR UPDATE")
        answers = together(8, lambda _: shop.request("POST", "/api/orders", order, **headers))
        assert {code for code, _ in answers} <= {202, 503}
        assert shop.request("GET", "/health/live")[0] == 200
    orders = [answer["id"] for code, answer in answers if code == 202]
    for each in orders:
        path = f"/api/orders/{each}"
        paid = lambda p=path: shop.request("GET", p, **headers)[1]["status"] == "paid"  # noqa: E731
        shop.eventually(paid, within=60)


@pytest.mark.parametrize(
    ("argv", "kind"),
    [
        (["manage.py", "relay"], "relay"),
        (["/x/lib/granian/__main__.py", "--host", "::"], "web"),
        (["/x/bin/granian", "shop.wsgi:application"], "web"),
        (["/x/lib/celery/__main__.py", "-A", "shop", "worker"], "worker"),
        (["-c"], "-c"),
    ],
)
def test_a_session_says_what_its_process_is(argv: list[str], kind: str) -> None:
    assert process_kind(argv) == kind


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_a_session_that_the_server_has_ended_is_replaced_before_it_is_used() -> None:
    """After a restart of PostgreSQL each pooled connection answered one request with an error."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    connection.close()  # into the pool
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() != (pid,)


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_a_session_with_a_notice_is_kept() -> None:
    """Its socket can be read, too."""
    parameters = connection.get_connection_params()
    with psycopg.connect(**parameters, autocommit=True) as idle:
        idle.execute("LISTEN of_a_test")
        with psycopg.connect(**parameters, autocommit=True) as other:
            other.execute("NOTIFY of_a_test")
        check(idle)
        assert [notice.channel for notice in idle.notifies(timeout=5, stop_after=1)] == [
            "of_a_test"
        ]
