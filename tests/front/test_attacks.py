"""Clients that hold connections open: the shop continues to serve the others.

During each attack, the health check responds and an order is placed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.chaos.running import Shop
from tests.front.asking import exchanged, held

pytestmark = [pytest.mark.xdist_group("running"), pytest.mark.timeout(180)]

ORDER = {
    "items": [{"sku": "MUG-OAK", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}
HOST = b"Host: shop\r\n"
# What anybody may post: its body is read before anything is refused.
POST = b"POST /api/auth/token HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
LARGE = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    running = Shop(tmp_path_factory.mktemp("shop"))
    try:
        running.start()
        running.fill_the_shelves("MUG-OAK")
        yield running
    finally:
        running.close()


def address(shop: Shop) -> str:
    return shop.url.removeprefix("http://")


def assert_unharmed(shop: Shop) -> None:
    assert shop.request("GET", "/health/live")[0] == 200
    status, order = shop.request(
        "POST", "/api/orders", ORDER, **shop.sign_in("alice"), **{"Idempotency-Key": uuid4().hex}
    )
    assert (status, order["status"]) == (201, "paid")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = struct.pack(">I", len(payload))[1:]
    return head + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def http2_upload() -> bytes:
    """A POST by HTTP/2 with prior knowledge that announces 100 bytes and sends none."""
    fields = [(":method", "POST"), (":path", "/api/auth/token"), (":scheme", "http")]
    fields += [(":authority", "shop"), ("content-length", "100")]
    fields += [("content-type", "application/json")]
    block = b"".join(
        b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields
    )
    start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    return start + frame(1, 4, 1, block)


def test_http2_uploads_that_are_aborted(shop: Shop) -> None:
    """Eight uploads of 149 bytes each kept all eight threads busy forever."""
    with held(address(shop), 16, http2_upload()) as connections:
        for connection in connections:
            connection.settimeout(0.2)
            with ExitStack() as stack:
                stack.enter_context(_forgiving())
                connection.recv(1024)
    assert_unharmed(shop)


@contextmanager
def _forgiving() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def upload(size: int, start: bytes) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % size + start


def holding(shop: Shop, attack: str) -> AbstractContextManager[Any]:
    count, start = {
        "idle": (1000, b""),
        "half a head": (300, b"GET /health/live HTTP/1.1\r\nHo"),
        "one byte of a body": (200, upload(100, b"{")),
        "one byte of a chunked body": (
            50,
            POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{",
        ),
        "most of a large body": (80, upload(1_000_000, b"x" * 900_000)),
        "reads nothing": (100, b"GET " + LARGE + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    }[attack]
    return held(address(shop), count, start)


@pytest.mark.parametrize(
    "attack",
    [
        *("idle", "half a head", "one byte of a body", "one byte of a chunked body"),
        *("most of a large body", "reads nothing"),
    ],
)
def test_connections_that_are_held(shop: Shop, attack: str) -> None:
    """Eight bodies with one byte each stopped the whole process while they were held."""
    with holding(shop, attack):
        assert_unharmed(shop)


def test_what_is_held_is_let_go(shop: Shop) -> None:
    """Idle connections and half heads are closed, half bodies are answered 408."""
    starts = [b"", b"GET / HTTP/1.1\r\nHo", upload(100, b"{")]
    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda start: exchanged(address(shop), start), starts)
    assert [answer[:12] for answer in answers] == [b"", b"", b"HTTP/1.1 408"]


def last_order(shop: Shop) -> str:
    page = shop.request("GET", "/api/orders", **shop.sign_in("alice"))[1]
    return str(next((order["id"] for order in page["results"]), ""))


def posted(shop: Shop, framing: bytes, body: bytes, *, ends: bool = False) -> bytes:
    token = shop.sign_in("alice")["Authorization"].encode()
    head = b"POST /api/orders HTTP/1.1\r\n" + HOST + b"Authorization: " + token + b"\r\n"
    head += b"Content-Type: application/json\r\nConnection: close\r\n"
    head += b"Idempotency-Key: " + uuid4().hex.encode() + b"\r\n"
    return exchanged(address(shop), head + framing + b"\r\n" + body, ends=ends)


@pytest.mark.parametrize(
    ("framing", "cut", "placed"),
    [
        (b"Content-Length: %d\r\n", 0, True),
        (b"Content-Length: 1%d\r\n", 0, False),
        (b"Transfer-Encoding: chunked\r\n", 0, True),
        (b"Transfer-Encoding: chunked\r\n", 5, False),
        (b"Transfer-Encoding: chunked\r\n", 7, False),
    ],
)
def test_an_order_is_placed_by_a_whole_body_and_by_no_other(
    shop: Shop, framing: bytes, cut: int, placed: bool
) -> None:
    """An incomplete order was placed and paid, and a chunked body was empty."""
    body, before = json.dumps(ORDER).encode(), last_order(shop)
    if b"chunked" in framing:
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        sent = sent[: len(sent) - cut]
    else:
        framing, sent = framing % len(body), body
    answer = posted(shop, framing, sent, ends=not placed)
    assert (b" 201 " in answer) == placed
    assert (last_order(shop) != before) == placed


def test_a_body_that_is_too_large_is_answered(shop: Shop) -> None:
    """The client sees the response although it is still sending."""
    answer = posted(shop, b"Content-Length: 3000000\r\n", b"x" * 3_000_000)
    assert b"HTTP/1.1 413" in answer
    assert b'"too_large"' in answer


def test_http2_is_not_spoken(shop: Shop) -> None:
    assert exchanged(address(shop), http2_upload(), ends=True) == b""
