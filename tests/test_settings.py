"""Outside development nothing is open by default, and nothing is guessed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.addresses import free_addresses
from tests.processes import ROOT, manage, run
from tests.production import EVERYWHERE, NEEDED

STARTS = {
    "manage.py": ["manage.py", "prepare"],
    "worker": ["-m", "celery", "-A", "shop", "worker"],
    "web": ["-m", "granian", "--interface", "asgi", "shop.asgi:application"],
    "supervisor": ["-m", "tools.supervisor"],
}


@pytest.mark.parametrize("deployment", NEEDED)
def test_all_that_is_missing_is_said_at_once(tmp_path: Path, deployment: str) -> None:
    """Settings were demanded one by one, in as many starts."""
    where = {"SHOP_PLACEMENT": "split", "SHOP_DEPLOYMENT": deployment}
    done = manage({"SHOP_ENV": "production", "VAR_DIR": str(tmp_path)} | where, "check")
    first, *lines = done.stderr.splitlines()
    assert f"the deployment {deployment!r} does not start without" in first
    named = {line.partition(":")[0].strip() for line in lines}
    assert named == EVERYWHERE | NEEDED[deployment]


@pytest.mark.parametrize(
    ("start", "wrong", "text"),
    [
        *(
            (start, {"SECRET_KEY": ""}, "does not start without\n  SECRET_KEY: ")
            for start in STARTS
        ),
        ("manage.py", {"SHOP_PLACEMENT": "moon"}, "shop: unknown placement 'moon'; there is: "),
        ("worker", {"JWT_PUBLIC_KEYS": "{"}, "shop: JWT_PUBLIC_KEYS: it is no JSON Web Key Set"),
        ("supervisor", {"DATABASE_URL": "shop"}, "shop: DATABASE_URL is no postgres://"),
        ("worker", {"DATABASE_POOL": "x"}, "shop: DATABASE_POOL is 'x', not a whole number"),
        (
            "worker",
            {"DATABASE_POOL": "0"},
            "shop: DATABASE_POOL is 0: a process needs a connection",
        ),
        ("manage.py", {"SIGN_IN_TRIES": "-1"}, "shop: SIGN_IN_TRIES is '-1', not a whole number"),
        ("manage.py", {"DRAIN_SECONDS": "nan"}, "shop: DRAIN_SECONDS is 'nan', not a number"),
        ("manage.py", {"SHOP_MESH": "yup"}, "shop: SHOP_MESH is 'yup', not true or false"),
        ("manage.py", {"LOG_LEVEL": "loud"}, "shop: LOG_LEVEL is 'loud'; there is: "),
        ("manage.py", {"DATABASE_URL": "postgres://db:x/shop"}, "shop: DATABASE_URL: "),
        ("worker", {"BROKER_URL": "amqp://a:b@host:x//"}, "shop: BROKER_URL: Port could not be"),
        ("worker", {"BROKER_URL": "rabbitmq"}, "shop: BROKER_URL is no URL with filesystem, amqp"),
        ("manage.py", {"CACHE_URL": "redis://host:x/0"}, "shop: CACHE_URL: Port could not be"),
        ("manage.py", {"EMAIL_URL": "smtp://localhost:x"}, "shop: EMAIL_URL: "),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    production: dict[str, str], start: str, wrong: dict[str, str], text: str
) -> None:
    port = free_addresses(1)[0].rpartition(":")[2]
    ports = {"PORT": port, "GRPC_PORT": port, "GRANIAN_PORT": port}
    done = run(production | ports | wrong, *STARTS[start])
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_production_writes_no_keys(production: dict[str, str]) -> None:
    manage(production, "check")
    assert not (Path(production["VAR_DIR"]) / "keys").exists()


def test_production_has_no_demo_accounts(production: dict[str, str]) -> None:
    done = manage(production, "seed_demo")
    assert done.returncode != 0
    assert "known passwords" in done.stderr


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Somebody mistyped DATABASE_URL: a traceback after five seconds says nothing of it."""
    url = "postgres://shop:secret@127.0.0.1:1/shop"
    done = manage({"VAR_DIR": str(tmp_path), "DATABASE_URL": url}, "prepare")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: ") and "127.0.0.1" in done.stderr
    assert "secret" not in done.stderr


def test_development_keeps_the_keys_that_it_made(tmp_path: Path) -> None:
    """Else every restart would sign everybody out."""
    env = {"VAR_DIR": str(tmp_path)}
    manage(env, "check")
    first = {f.name: f.read_text() for f in (tmp_path / "keys").iterdir()}
    manage(env, "check")
    assert {f.name: f.read_text() for f in (tmp_path / "keys").iterdir()} == first
    assert {f.stat().st_mode & 0o777 for f in (tmp_path / "keys").iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("SHOP_PLACEMENT", "nowhere", "unknown placement 'nowhere'; there is: mixed, one, split"),
        ("SHOP_DEPLOYMENT", "moon", "unknown deployment of placement 'one' 'moon'"),
    ],
)
def test_an_unknown_place_is_named(tmp_path: Path, name: str, value: str, complaint: str) -> None:
    done = manage({"VAR_DIR": str(tmp_path), name: value}, "check")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_production_refuses_faults_on_purpose(production: dict[str, str]) -> None:
    """Somebody tried something out in topology.toml, and it was released."""
    file = Path(production["VAR_DIR"]) / "topology.toml"
    file.write_text((ROOT / "topology.toml").read_text() + "[faults.users]\ndelay = 1\n")
    done = manage(production | {"SHOP_TOPOLOGY": str(file)}, "check")
    assert done.returncode != 0
    assert "[faults] are for development only" in done.stderr


ASK = """
from django.test import Client
from severable.rpc import identity
own = {"Authorization": "Bearer " + identity.token(60, identity.BY_HAND)}
ask = Client(headers=own, raise_request_exception=False)
for host in ("shop.example.com", "shop.internal:8000", "evil.example.com"):
    print(ask.get("/internal/nothing", headers={"Host": host}).status_code)
"""


def test_deployments_reach_each_other_by_their_own_names(production: dict[str, str]) -> None:
    """With ALLOWED_HOSTS set, calls over REST between deployments were answered 400."""
    done = manage(production | {"HTTP_SHOP": "shop.internal:8000"}, "shell", "-v0", "-c", ASK)
    assert done.stdout.split() == ["404", "404", "400"], done.stderr


def test_deployments_at_one_host_have_cookies_of_different_names(tmp_path: Path) -> None:
    """Browsers do not keep ports apart: each deployment ended the sessions of the others."""
    script = "from shop import settings as s; print(s.SESSION_COOKIE_NAME)"
    found: list[str] = []
    for name in ("users", "gateway", "payments"):
        env = {"SHOP_PLACEMENT": "split", "SHOP_DEPLOYMENT": name, "VAR_DIR": str(tmp_path)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=True
        )
        found += done.stdout.split()
    assert len(set(found)) == 3
    assert found[0] == "sessionid"  # as the API's schema has it
