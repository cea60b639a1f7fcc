"""Secrets and keys are made by a command, before any setting exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import environ
import pytest

from severable import keys
from severable.config import jwk
from tests.processes import ROOT, manage, run

NOTHING = {"SHOP_ENV": "production"}
COMPOSE = {
    *("SECRET_KEY", "SERVICE_KEY", "JWT_PRIVATE_KEY", "JWT_PUBLIC_KEYS", "POSTGRES_PASSWORD"),
    *("RABBITMQ_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD", "METRICS_TOKEN"),
    *keys.CHOICES,
}


def read(text: str, file: Path) -> dict[str, str]:
    """Read a .env as the shop does."""
    file.write_text(text)
    found = os.environ.copy()
    environ.Env.read_env(file, overwrite=True)
    read = {name: os.environ[name] for name in re.findall(r"^\w+", text, re.M)}
    os.environ.clear()
    os.environ.update(found)
    return read


def test_a_new_key_signs_here_and_is_trusted_elsewhere(
    production: dict[str, str], tmp_path: Path
) -> None:
    """No command made JWT_PUBLIC_KEYS."""
    made = read(manage(NOTHING, "jwks", "--new").stdout, tmp_path / "env")
    assert set(made) == {"JWT_PRIVATE_KEY", "JWT_PUBLIC_KEYS"}
    printed = manage(production | {"JWT_PRIVATE_KEY": made["JWT_PRIVATE_KEY"]}, "jwks").stdout
    assert printed.strip() == made["JWT_PUBLIC_KEYS"]

    split = production | {"SHOP_PLACEMENT": "split"}
    users = split | {"SHOP_DEPLOYMENT": "users", "JWT_PRIVATE_KEY": made["JWT_PRIVATE_KEY"]}
    orders = split | {"SHOP_DEPLOYMENT": "orders", "JWT_PUBLIC_KEYS": printed}
    orders.pop("JWT_PRIVATE_KEY")
    sign = "from severable.api.auth import AccessToken; print(AccessToken())"
    token = manage(users, "shell", "-v0", "-c", sign).stdout.strip()
    verify = f"from severable.api.auth import AccessToken; print(AccessToken({token!r})['iss'])"
    assert manage(orders, "shell", "-v0", "-c", verify).stdout == "shop\n"


def test_keys_of_a_rotation_are_printed_together(production: dict[str, str]) -> None:
    """The others must trust the next key before it signs."""
    following = jwk.public_jwk(jwk.new_private_key())
    done = manage(production | {"JWT_PUBLIC_KEYS": jwk.key_set([following])}, "jwks")
    own, other = jwk.public_keys(done.stdout)
    assert (own, other) == (jwk.public_jwk(production["JWT_PRIVATE_KEY"]), following)


@pytest.mark.parametrize(("key", "complaint"), [("", "is not set; --new"), ("junk", "in PEM")])
def test_without_a_key_it_says_so(key: str, complaint: str) -> None:
    done = manage(NOTHING | {"JWT_PRIVATE_KEY": key}, "jwks")
    assert done.returncode == 1
    assert done.stderr.startswith("shop: JWT_PRIVATE_KEY ") and complaint in done.stderr


def test_a_whole_env_for_compose(production: dict[str, str], tmp_path: Path) -> None:
    """docker-compose.yml asks for these; a password ends up in URLs and on command lines."""
    first, second = (
        read(run(NOTHING, "-m", "severable.keys", "--env").stdout, tmp_path / "env") for _ in "12"
    )
    assert set(first) == COMPOSE
    same = {name for name in COMPOSE if first[name] == second[name]}
    assert same == set(keys.CHOICES)
    secrets = COMPOSE - same - {"JWT_PRIVATE_KEY", "JWT_PUBLIC_KEYS"}
    assert all(re.fullmatch("[0-9a-f]{64}", first[name]) for name in secrets)
    chosen = {name: first[name] for name in COMPOSE - keys.CHOICES.keys()}
    done = manage(production | chosen, "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_shells_and_compose_read_the_same(tmp_path: Path) -> None:
    """The JSON's double quotes were taken for the shell's, and the key was refused."""
    text = run(NOTHING, "-m", "severable.keys", "--new").stdout
    file = tmp_path / "env"
    expected = read(text, file)["JWT_PUBLIC_KEYS"]
    script = f'. {file}; printf %s "$JWT_PUBLIC_KEYS"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == expected


def test_it_needs_no_more_than_cryptography() -> None:
    """It also runs where only the image's Python is."""
    too_much = "{'django', 'jwt', 'environ'} & set(sys.modules)"
    code = f"import sys, severable.keys; sys.exit(bool({too_much}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
