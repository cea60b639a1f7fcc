"""What nginx does as the edge beyond what the embedded gateway does, or with limits of its own."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from severable import topology
from severable.http.answer import SECURITY
from tests.edge.answers import taken_apart
from tests.edge.conftest import SECONDS, Edge
from tests.edge.corpus import CHUNKED, get, post
from tests.edge.names import names
from tests.edge.running import changed, need_nginx, nginx
from tests.front.asking import Answered, exchanged, held
from tests.gateway.upstream import SILENCE, Upstream

pytestmark = pytest.mark.xdist_group("edge")

CLOSE = b"Connection: close"


def log_of(edge: Edge, marker: str) -> list[dict[str, Any]]:
    """Return the lines of the access log that have this in them, once there is one."""
    deadline = time.monotonic() + 5
    while True:
        lines = edge.log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if marker in line]
        if found:
            return found
        assert time.monotonic() < deadline, marker
        time.sleep(0.05)


def assert_problem(answer: Answered, status: int, code: str) -> None:
    body = json.loads(answer.body)
    assert (answer.status, body["status"], body["code"]) == (status, status, code)
    assert answer.all("Content-Type") == ["application/problem+json"]
    assert [answer.all(name) for name in SECURITY] == [[value] for value in SECURITY.values()]
    assert len(answer.all("X-Request-ID")) == 1


@pytest.mark.parametrize("path", [b"/internal", b"/internal/users/1", b"/metrics", b"/metrics/"])
def test_what_is_inside_is_not_shown(nginx_alone: Edge, peer: Upstream, path: bytes) -> None:
    """The entry would answer: for a service token, and for that of Prometheus."""
    token = b"Authorization: Bearer x"
    answer = taken_apart(exchanged(nginx_alone.address, get(path, token, CLOSE)))
    assert_problem(answer, 404, "not_found")
    assert log_of(nginx_alone, f'"path": "{path.decode()}"')[0]["upstream"] == ""


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /api/orders HTTP/1.1\r\nHo",
        post(b"Content-Length: 9", body=b"{"),
        post(CHUNKED, body=b"1\r\n{"),
    ],
)
def test_what_is_held_is_let_go_and_never_reaches_a_context(
    nginx_alone: Edge, peer: Upstream, start: bytes
) -> None:
    """nginx answers no 408: it closes the connection."""
    began = time.monotonic()
    assert exchanged(nginx_alone.address, start) == b""
    assert SECONDS / 2 < time.monotonic() - began < SECONDS * 5
    assert peer.asked == []


@pytest.mark.parametrize("cut", [1, 5, 7])
def test_half_a_body_is_never_sent_on(nginx_alone: Edge, peer: Upstream, cut: int) -> None:
    whole = b"3\r\nabc\r\n0\r\n\r\n"
    exchanged(nginx_alone.address, post(CHUNKED, body=whole[:-cut]), ends=True)
    exchanged(nginx_alone.address, post(b"Content-Length: 9", body=b"x" * (9 - cut)), ends=True)
    assert peer.asked == []


def test_a_context_that_stays_silent_is_a_504_and_is_asked_once(
    nginx_alone: Edge, peer: Upstream
) -> None:
    peer.answer = SILENCE
    length = b"Content-Length: 3"
    answer = taken_apart(exchanged(nginx_alone.address, post(length, CLOSE)))
    assert_problem(answer, 504, "timeout")
    assert (answer.all("Retry-After"), len(peer.asked)) == (["2"], 1)


def test_200_held_connections_and_a_frozen_context_harm_no_other(
    nginx_alone: Edge, peer: Upstream
) -> None:
    peer.answer = SILENCE
    with ExitStack() as stack:
        for start in (b"", b"GET / HTTP/1.1\r\nHo", post(b"Content-Length: 9", body=b"{")):
            stack.enter_context(held(nginx_alone.address, 200, start))
        stack.enter_context(held(nginx_alone.address, 200, get(b"/api/orders")))
        began = time.monotonic()
        answers = [
            taken_apart(exchanged(nginx_alone.address, get(b"/health/live", CLOSE)))
            for _ in range(20)
        ]
    assert {answer.body for answer in answers} == {b'{"code": "not_found"}'}  # the entry's
    assert time.monotonic() - began < SECONDS


def test_the_log_has_what_one_looks_for_and_no_secret(nginx_alone: Edge, peer: Upstream) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = [b"Authorization: Bearer hidden-1", b"Cookie: sessionid=hidden-2"]
    headers += [b"X-Request-ID: logged-1", b"Referer: http://shop/?token=hidden-3"]
    headers += [b"traceparent: 00-%s-00f067aa0ba902b7-01" % trace.encode(), CLOSE]
    exchanged(nginx_alone.address, get(b"/api/orders/logged?token=hidden-4", *headers))
    lost_target = b"/api/payments/lost?token=hidden-5"
    exchanged(nginx_alone.address, get(lost_target, *headers, method=b"PATCH"))

    [passed] = log_of(nginx_alone, "/api/orders/logged")
    [lost] = log_of(nginx_alone, "/api/payments/lost")
    assert "hidden" not in nginx_alone.log.read_text(errors="replace")
    assert (passed["request_id"], passed["trace_id"]) == ("logged-1", trace)
    assert (passed["path"], passed["status"]) == ("/api/orders/logged", "200")
    assert (passed["upstream"], passed["upstream_status"]) == (peer.address, "200")
    assert float(passed["upstream_seconds"]) >= 0 and float(passed["seconds"]) >= 0
    assert (lost["method"], lost["status"], lost["upstream_status"]) == ("PATCH", "503", "502")


@pytest.mark.parametrize("zipped", [True, False])
def test_json_is_zipped_for_those_who_take_it(
    nginx_alone: Edge, peer: Upstream, zipped: bool
) -> None:
    body = json.dumps(["x"] * 1000).encode()
    peer.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nVary: Accept\r\n"
    peer.answer += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    connection = HTTPConnection(nginx_alone.address, timeout=10)
    with closing(connection):
        connection.request(
            "GET", "/api/orders", headers={"Accept-Encoding": "gzip"} if zipped else {}
        )
        answer = connection.getresponse()
        content = answer.read()
    assert (gzip.decompress(content) if zipped else content) == body
    assert answer.headers.get_all("Vary") == ["Accept-Encoding", "Accept"]
    assert peer.asked[0].all("Accept-Encoding") == []


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, orders: Upstream) -> Iterator[str]:
    """An edge behind a load balancer that topology.toml names."""
    need_nginx()
    folder: Path = tmp_path_factory.mktemp("proxied")
    found = topology.load(changed(folder, proxies='["127.0.0.0/8"]'))
    hosts = dict.fromkeys(found.placements["one"], orders.address)
    with nginx(folder, found, "one", hosts) as address:
        yield address


def test_a_proxy_that_is_named_says_who_asked(proxied: str, peer: Upstream) -> None:
    """Otherwise all clients behind a load balancer share one address and its rate limit."""
    headers = [b"X-Forwarded-For: 9.9.9.9, 203.0.113.7", b"X-Forwarded-Proto: https", CLOSE]
    exchanged(proxied, get(b"/api/orders", *headers))
    [asked] = peer.asked
    assert asked.all("X-Forwarded-For") == ["203.0.113.7"]
    assert asked.all("X-Forwarded-Proto") == ["https"]


def test_a_deployment_that_comes_later_is_found(tmp_path: Path, peer: Upstream) -> None:
    """nginx looks names up once, when it starts, unless it is told otherwise."""
    need_nginx()
    found = topology.load(changed(tmp_path))
    host, _, port = peer.address.rpartition(":")
    hosts = dict.fromkeys(found.placements["one"], f"shop:{port}")
    request = get(b"/api/orders", CLOSE)
    with names() as server, nginx(tmp_path, found, "one", hosts, server.address) as address:
        assert taken_apart(exchanged(address, request)).status == 503
        server.known["shop"] = [host]
        deadline = time.monotonic() + 15
        while taken_apart(exchanged(address, request)).status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("retries", "method", "times"),
    [("0", "GET", 1), ("1", "GET", 2), ("1", "PUT", 2), ("1", "POST", 1), ("1", "PATCH", 1)],
)
def test_only_what_may_come_twice_is_sent_again_and_only_if_retries_are_wanted(
    tmp_path: Path, retries: str, method: str, times: int
) -> None:
    """A name with two addresses, neither of which answers."""
    need_nginx()
    found = topology.load(changed(tmp_path, edge_retries=retries))
    with broken("127.0.0.1", 0) as one, broken("127.0.0.2", port_of(one)) as two:
        hosts = dict.fromkeys(found.placements["one"], f"shop:{port_of(one)}")
        with (
            names(shop=["127.0.0.1", "127.0.0.2"]) as server,
            nginx(tmp_path, found, "one", hosts, server.address) as address,
        ):
            request = get(b"/api/orders", CLOSE, method=method.encode())
            assert_problem(taken_apart(exchanged(address, request)), 503, "unavailable")
        assert len(one.asked) + len(two.asked) == times


@contextmanager
def broken(host: str, port: int) -> Iterator[Upstream]:
    """A context that takes requests and closes the connection."""
    with socket.create_server((host, port)) as listener:
        running = Upstream(listener, b"", breaks_off=True)
        threading.Thread(target=running.serve, daemon=True).start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)


def port_of(context: Upstream) -> int:
    return int(context.address.rpartition(":")[2])
