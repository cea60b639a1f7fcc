"""Clients that hold connections to nginx open: the shop behind it continues to serve others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.chaos.running import ON_SERVERS, Shop
from tests.edge.running import need_nginx, nginx
from tests.front.test_attacks import assert_unharmed, holding

pytestmark = [ON_SERVERS, pytest.mark.xdist_group("running"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop that is reached through nginx."""
    need_nginx()
    running = Shop(tmp_path_factory.mktemp("shop"), environment={"TRUSTED_PROXIES": "1"})
    try:
        running.start()
        running.fill_the_shelves("MUG-OAK")
        hosts = {name: first for name, [first] in running.addresses.items()}
        folder = tmp_path_factory.mktemp("nginx")
        with nginx(folder, settings.TOPOLOGY, "one", hosts) as address:
            running.url = f"http://{address}"
            yield running
    finally:
        running.stop()


@pytest.mark.parametrize(
    "attack",
    [
        *("idle", "half a head", "one byte of a body", "one byte of a chunked body"),
        *("most of a large body", "reads nothing"),
    ],
)
def test_connections_that_are_held(shop: Shop, attack: str) -> None:
    """nginx buffers requests: contexts receive only complete ones."""
    with holding(shop, attack):
        assert_unharmed(shop)


def test_limits_count_clients_and_not_the_edge(shop: Shop) -> None:
    """A client's own X-Forwarded-For is ignored behind nginx, too."""
    wrong = {"username": "nobody", "password": "no"}
    tries = settings.SIGN_IN_FAILURES + 1
    statuses = [
        shop.request("POST", "/api/auth/token", wrong, **{"X-Forwarded-For": f"10.0.0.{n}"})[0]
        for n in range(tries)
    ]
    assert statuses == [401] * (tries - 1) + [429]
