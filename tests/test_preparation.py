"""`manage.py prepare` begins with the right data or says why not; data that goes is noticed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from tests.addresses import free_addresses
from tests.chaos.running import SERVER, Shop
from tests.processes import manage, start

ON_SQLITE = pytest.mark.skipif(connection.vendor != "sqlite", reason="there is no file")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a shop that has no database yet."""
    name = f"shop_test_{uuid4().hex[:8]}"
    env = {"VAR_DIR": str(tmp_path)}
    if SERVER:
        env["DATABASE_URL"] = f"{SERVER.rpartition('/')[0]}/{name}"
    yield env
    if SERVER:
        with psycopg.connect(SERVER, autocommit=True) as server:
            for each in (name, f"{name}-users", f"{name}-orders"):
                server.execute(f'DROP DATABASE IF EXISTS "{each}" WITH (FORCE)')


SPLIT = {"SHOP_PLACEMENT": "split", "SHOP_DEPLOYMENT": "users"}
SCRIPT = "from django.conf import settings; print(settings.DATABASES['default']['NAME'], end='')"


def prepared(env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    done = manage(env, "prepare", *options)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(("before", "after"), [({}, SPLIT), (SPLIT, {})], ids=["split", "joined"])
def test_another_placement_does_not_open_an_empty_shop(
    fresh: dict[str, str], before: dict[str, str], after: dict[str, str]
) -> None:
    """All accounts and orders seem to be gone, and new ones are written elsewhere."""
    assert prepared(fresh | before).returncode == 0
    refused = prepared(fresh | after)
    assert refused.returncode == 1
    theirs = manage(fresh | before, "shell", "-v0", "-c", SCRIPT).stdout
    assert "no " in refused.stderr and "users" in refused.stderr
    assert f"but {theirs} has, from another placement" in refused.stderr
    assert "--empty" in refused.stderr
    assert prepared(fresh | after | {"EMPTY": "1"}).returncode == 0
    # From then on it has data of its own.
    assert prepared(fresh | after).returncode == 0
    assert prepared(fresh | before).returncode == 0


def test_deployments_of_one_placement_do_not_refuse_each_other(fresh: dict[str, str]) -> None:
    assert prepared(fresh | SPLIT).returncode == 0
    assert prepared(fresh | SPLIT | {"SHOP_DEPLOYMENT": "orders"}).returncode == 0


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a shop: to make it takes longer than to copy it."""
    folder = tmp_path_factory.mktemp("used")
    assert prepared({"VAR_DIR": str(folder)}).returncode == 0
    return folder / "db.sqlite3"


@ON_SQLITE
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        ("ALTER TABLE users_user RENAME TO users_customer", "table users_user is missing"),
        (
            "ALTER TABLE severable_jobs_lease RENAME COLUMN holder TO owner",
            "severable_jobs_lease has no column holder",
        ),
        ("ALTER TABLE severable_jobs_lease ADD COLUMN x int NOT NULL DEFAULT 1", ""),
        ("DELETE FROM django_migrations WHERE app = 'orders'", "already exists"),
    ],
)
def test_a_database_of_another_version_is_refused_with_a_word(
    fresh: dict[str, str], used: Path, damage: str, word: str
) -> None:
    """A traceback, or a shop that starts and fails at the first request."""
    file = Path(shutil.copy(used, fresh["VAR_DIR"]))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(damage)
        database.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('severable_jobs', '0099_x', '2026')"
        )
    done = prepared(fresh)
    if not word:  # rows can be written without it: a newer version has been here
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert f"CommandError: {file} cannot be used by this version" in done.stderr
    assert word in done.stderr
    assert "severable_jobs.0099_x is not known here" in done.stderr
    assert f"delete {file.parent}" in done.stderr


def test_outside_development_static_files_are_there(
    fresh: dict[str, str], production: dict[str, str]
) -> None:
    """All pages came without styles until somebody thought of collectstatic."""
    static = Path(production["VAR_DIR"]) / "collected"
    own = {"DATABASE_URL": f"sqlite:///{fresh['VAR_DIR']}/db.sqlite3"} | fresh
    done = prepared(production | own | {"STATIC_ROOT": str(static)})
    assert done.returncode == 0, done.stderr
    assert (static / "admin/css/base.css").is_file()
    done = prepared(production | own | {"STATIC_ROOT": "/proc/static"})
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: static files cannot be collected: ")


@ON_SQLITE
@pytest.mark.timeout(120)
@pytest.mark.xdist_group("running")
def test_one_shop_at_a_time_and_none_without_its_files(tmp_path: Path) -> None:
    """Orders were answered 201, and written into a file that nobody would find."""
    var = tmp_path / "var"
    shop = Shop(tmp_path, environment={"VAR_DIR": str(var)})
    try:
        shop.start()
        second, grpc = (address.rpartition(":")[2] for address in free_addresses(2))
        done = start(second, GRPC_PORT=grpc, VAR_DIR=str(var))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"shop: {var} is in use by a running shop; ")

        headers = shop.sign_in("alice")
        order = {"items": [{"sku": "MUG-OAK", "quantity": 1}], "payment": {"method": "credit"}}
        assert shop.request("POST", "/api/orders", order, **headers)[0] in (201, 202, 402)
        shutil.rmtree(var, ignore_errors=True)  # processes write there meanwhile
        for _ in range(20):  # each of the threads has a connection of its own
            status, answer = shop.request("POST", "/api/orders", order, **headers)
            assert status == 503, (answer, (tmp_path / "log").read_text()[-3000:])
        status, ready = shop.request("GET", "/health/ready")
        assert (status, ready["status"]) == (503, "unavailable")
        assert shop.request("GET", "/health/live")[0] == 200
    finally:
        shop.close()
