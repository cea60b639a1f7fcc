"""Outside development nothing is open by default, and nothing is guessed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

PRODUCTION = {
    "SHOP_ENV": "production",
    "SECRET_KEY": "0123456789abcdefghij" * 3,
    "SERVICE_KEY": "jihgfedcba9876543210" * 3,
    "JWT_PRIVATE_KEY": "made below",
    "EMAIL_URL": "smtp://localhost:25",
    "ALLOWED_HOSTS": "shop.example.com",
    "PAYMENT_PROVIDER": "apps.payments.providers.TestProvider",
    "PUBLIC_URL": "https://shop.example.com",
}


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    from severable.config.development import rsa_key

    return PRODUCTION | {"JWT_PRIVATE_KEY": rsa_key(), "VAR_DIR": str(tmp_path)}


def manage(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    clean = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=clean | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_production_starts_with_all_that_it_needs(production: dict[str, str]) -> None:
    done = manage(production, "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    [
        *("SECRET_KEY", "SERVICE_KEY", "JWT_PRIVATE_KEY"),
        *("EMAIL_URL", "PAYMENT_PROVIDER", "PUBLIC_URL"),
    ],
)
def test_production_refuses_to_start_without(production: dict[str, str], name: str) -> None:
    done = manage({k: v for k, v in production.items() if k != name}, "check")
    assert done.returncode != 0
    assert f"{name} must be set" in done.stderr


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


SIGN_IN = """
from django.contrib.auth import authenticate
user = authenticate(username={username!r}, password={password!r})
print(user.is_staff and user.get_username() if user else None, end="")
"""
TOKENS = """
from severable.api.auth import AccessToken
for username, staff in (("ada", True), ("alice", False)):
    token = AccessToken()
    token["sub"], token["username"], token["staff"] = "1", username, staff
    print(token)
"""


def test_staff_sign_in_with_a_token_where_no_users_are(tmp_path: Path) -> None:
    """Anybody's token, or somebody else's, must not open the admin of a deployment."""
    env = {"VAR_DIR": str(tmp_path), "SHOP_PLACEMENT": "split"}
    users, orders = env | {"SHOP_DEPLOYMENT": "users"}, env | {"SHOP_DEPLOYMENT": "orders"}
    ada, alice = manage(users, "shell", "-v0", "-c", TOKENS).stdout.split()
    manage(orders, "migrate", "-v0")

    def sign_in(username: str, password: str) -> str:
        code = SIGN_IN.format(username=username, password=password)
        return manage(orders, "shell", "-v0", "-c", code).stdout

    assert sign_in("ada", ada) == "ada"
    assert sign_in("alice", alice) == "None"
    assert sign_in("admin", ada) == "None"
    assert sign_in("ada", "admin") == "None"
