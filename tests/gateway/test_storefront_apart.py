"""The storefront where contexts run elsewhere: it reaches them over HTTP, as the gateway does."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest
from django.test import RequestFactory

from apps.gateway.storefront import backends
from apps.gateway.storefront.backends import Call, Remote, Unreachable
from severable.api.address import GATEWAY, client_address
from severable.telemetry.correlation import Correlation, correlated
from tests.edge.running import gateway
from tests.gateway.upstream import SILENCE, Upstream, upstream
from tests.processes import ROOT

POLICY = settings.TOPOLOGY.policies["orders"]
KEYED = {"Idempotency-Key": "k"}
FOUND = {
    "count": 1,
    "results": [
        {
            "sku": "MUG-OAK",
            "name": "Oak mug",
            "description": "",
            "unit_price": 900,
            "currency": "EUR",
            "available": 3,
        }
    ],
}


def json_answer(body: Any) -> bytes:
    encoded = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(encoded), encoded)


@pytest.fixture
def peer() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


def remote(*addresses: str) -> Remote:
    orders = settings.TOPOLOGY.where("split", "orders")
    return Remote(replace(orders, http=addresses), POLICY)


def page(**headers: str) -> HttpRequest:
    return RequestFactory().get("/orders", headers=headers, REMOTE_ADDR="203.0.113.7")


def test_a_request_has_what_the_gateway_sends_and_nothing_of_the_page_s(peer: Upstream) -> None:
    call = Call("POST", "/api/orders", "a=1", b"{}", {"Authorization": "Bearer t", **KEYED})
    from_page = page(Host="shop.example", Cookie="a=b", X_Forwarded_For="6.6.6.6")
    with correlated(Correlation(id="request-17")):
        answer = remote(peer.address).send(call, from_page, 2.0)
    [asked] = peer.asked

    assert (answer.status, answer.body) == (200, b"ok")
    assert (asked.line, asked.body) == ("POST /api/orders?a=1 HTTP/1.1", b"{}")
    sent = {name: asked.all(name) for name in ("Authorization", "Idempotency-Key", "Host")}
    assert sent == {
        "Authorization": ["Bearer t"],
        "Idempotency-Key": ["k"],
        "Host": ["shop.example"],
    }
    assert asked.all("X-Request-ID") == ["request-17"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", *asked.all("traceparent"))
    assert asked.all("Cookie") == []
    proof = {GATEWAY: asked.all(GATEWAY)[0], "X-Forwarded-For": asked.all("X-Forwarded-For")[0]}
    there = RequestFactory().post("/api/orders", headers=proof)
    assert client_address(there) == "203.0.113.7"  # its rate limits are the customer's


@pytest.mark.parametrize(("call", "times"), [(Call("GET", "/a"), 2), (Call("POST", "/a"), 1)])
def test_only_what_may_come_twice_is_sent_again(peer: Upstream, call: Call, times: int) -> None:
    peer.answer, peer.breaks_off = b"", True
    with pytest.raises(Unreachable):
        remote(peer.address).send(call, page(), 2.0)

    assert len(peer.asked) == times


def test_a_peer_that_does_not_answer_is_left_alone_for_a_while(peer: Upstream) -> None:
    peer.answer, orders = SILENCE, remote(peer.address)
    for _ in range(POLICY.breaker_failures + 3):
        with pytest.raises(Unreachable):
            orders.send(Call("GET", "/a"), page(), 0.05)

    assert len(peer.asked) == POLICY.breaker_failures


def test_another_address_answers_for_one_that_is_down(peer: Upstream) -> None:
    with upstream() as gone:
        nowhere = gone.address
    orders = remote(nowhere, peer.address)

    assert {orders.send(Call("POST", "/a"), page(), 2.0).status for _ in range(5)} == {200}


@pytest.mark.parametrize("placement", settings.TOPOLOGY.placements)
def test_each_path_goes_where_its_context_runs(
    placement: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    backends._remotes.cache_clear()
    monkeypatch.setattr(backends, "Remote", lambda deployment, policy: deployment.name)
    topology = settings.TOPOLOGY
    settings.PLACEMENT, settings.DEPLOYMENT = placement, topology.where(placement, "gateway")
    try:
        for context in topology.contexts.values():
            there = topology.where(placement, context.name)
            for route in context.routes:
                found = None if there == settings.DEPLOYMENT else there.name
                assert backends._remote(f"{route}/x") == backends._remote(route) == found
        assert backends._remote("/api/ordersX") is None
    finally:
        backends._remotes.cache_clear()


def test_the_gateway_of_a_split_shop_shows_the_products_of_inventory(
    peer: Upstream, tmp_path: Path
) -> None:
    peer.answer = json_answer(FOUND)
    with (
        gateway(tmp_path, ROOT / "topology.toml", {"inventory": peer.address}) as address,
        urllib.request.urlopen(f"http://{address}/?search=mug") as answer,
    ):
        shown = answer.read().decode()

    assert "Oak mug" in shown and "9.00 EUR" in shown
    [asked] = peer.asked
    assert asked.line.startswith("GET /api/inventory/products?search=mug&")
