"""Both edges, in front of the same context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from severable import topology
from tests.addresses import free_addresses
from tests.edge.running import changed, gateway, need_nginx, nginx
from tests.gateway.upstream import OK, Upstream, upstream

BODY = b'{"code": "not_found"}'
NOT_FOUND = b"HTTP/1.1 404 x\r\nContent-Type: application/problem+json\r\n"
NOT_FOUND += b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
SECONDS = 1.0  # of nginx, for a body and for an answer
LOST = {"payments": free_addresses(1)[0], "notifications": "no.such.invalid:1"}  # nobody is there


@dataclass(frozen=True)
class Edge:
    """An edge that runs: which one, where, and its log."""

    name: str
    address: str
    log: Path


@pytest.fixture(scope="session")
def orders() -> Iterator[Upstream]:
    """The context behind both edges."""
    with upstream() as running:
        yield running


@pytest.fixture
def peer(orders: Upstream) -> Upstream:
    """The same context in its initial state."""
    orders.asked.clear()
    orders.answer, orders.breaks_off = OK, False
    return orders


@pytest.fixture(scope="session", params=["embedded", "nginx"])
def edge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, orders: Upstream
) -> Iterator[Edge]:
    """The embedded gateway, then nginx."""
    folder = tmp_path_factory.mktemp(request.param)
    started = _nginx if request.param == "nginx" else _embedded
    with started(folder, orders) as address:
        yield Edge(request.param, address, folder / "log")


@pytest.fixture(scope="session")
def nginx_alone(tmp_path_factory: pytest.TempPathFactory, orders: Upstream) -> Iterator[Edge]:
    """Only nginx, for tests of its own behavior."""
    folder = tmp_path_factory.mktemp("alone")
    with _nginx(folder, orders) as address:
        yield Edge("nginx", address, folder / "log")


def _embedded(folder: Path, orders: Upstream) -> Any:
    file = changed(folder, breaker_failures="10000")  # each test has the context as new
    return gateway(folder, file, {**LOST, "orders": orders.address})


@contextmanager
def _nginx(folder: Path, orders: Upstream) -> Iterator[str]:
    need_nginx()
    found = topology.load(changed(folder, body_timeout=str(SECONDS), edge_timeout=str(SECONDS)))
    with upstream(answer=NOT_FOUND) as entry:
        hosts = dict.fromkeys(found.placements["split"], entry.address)
        hosts |= {**LOST, "orders": orders.address}
        with nginx(folder, found, "split", hosts) as address:
            yield address
