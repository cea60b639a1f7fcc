"""What the gateway forwards, and what it does not.

No test here may use the database: that a forwarded request costs no query is tested by all.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import replace
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import uvloop
from django.conf import settings
from django.test import RequestFactory
from opentelemetry import trace

from apps.gateway import proxy
from apps.gateway import upstream as asking
from apps.gateway.upstream import Upstream as Asked
from apps.orders.api import WAIT_SECONDS
from severable import topology
from severable.api.address import GATEWAY, client_address
from severable.http import Front
from severable.http.threads import Threads
from severable.topology import TopologyError
from tests.api.routes import patterns
from tests.front.asking import Answered as Answer
from tests.front.asking import asked, scope_of
from tests.gateway.upstream import OK, SILENCE, Upstream, upstream
from tests.processes import ROOT

CONTEXTS = sorted(set(settings.TOPOLOGY.contexts) - {"gateway"})
POLICY = settings.TOPOLOGY.policies["orders"]
IMPATIENT = 0.2  # seconds: in which a busy machine still passes a request on
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked"}


class Forwarding:
    """A gateway on its own event loop, as in a web process."""

    def __init__(self, *addresses: str) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # granian's choice
        front = Front(Threads(nothing_for_django))
        self.gateway = proxy.Gateway(front, {"/api/orders": Asked(addresses, POLICY)}, [])

    def asked(
        self, method: str = "GET", target: str = "/api/orders", body: bytes = b"", **meta: Any
    ) -> Answer:
        return self.runner.run(self.being_asked(method, target, body, **meta))

    async def being_asked(
        self, method: str = "GET", target: str = "/api/orders", body: bytes = b"", **meta: Any
    ) -> Answer:
        if body and "HTTP_TRANSFER_ENCODING" not in meta:
            meta.setdefault("CONTENT_LENGTH", str(len(body)))
        names = {"HTTP_HOST": "testserver"} | meta
        client = names.pop("REMOTE_ADDR", "127.0.0.1")
        headers = [(n.removeprefix("HTTP_").replace("_", "-"), v) for n, v in names.items()]
        scope = scope_of(method, target, headers) | {"client": (client, 1)}

        async def whole() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await self.gateway(scope, whole, send)

        return await asked(application, scope, [])

    def close(self) -> None:
        self.gateway.close()
        self.runner.close()


def nothing_for_django(environ: Any, start_response: Any) -> Any:
    raise AssertionError(environ["PATH_INFO"])


@pytest.fixture
def peer() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture
def forwarding() -> Iterator[Callable[..., Forwarding]]:
    """Start a gateway for these addresses."""
    running: list[Forwarding] = []

    def start(*addresses: str) -> Forwarding:
        running.append(Forwarding(*addresses))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def ask(peer: Upstream, forwarding: Callable[..., Forwarding]) -> Callable[..., Answer]:
    """Send a request to a gateway that forwards /api/orders to the peer."""
    answer: Callable[..., Answer] = forwarding(peer.address).asked
    return answer


def assert_problem(answer: Answer, status: int, code: str) -> None:
    body = json.loads(answer.body)
    assert (answer.status, body["status"], body["code"]) == (status, status, code)
    assert answer.all("Content-Type") == ["application/problem+json"]
    assert body["trace_id"]
    assert len(answer.all("X-Request-ID")) == 1
    assert not re.search(rb"Traceback|urllib3|127\.0\.0\.1", answer.body)


# What goes through


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
def test_method_and_body_arrive(ask: Callable[..., Answer], peer: Upstream, method: str) -> None:
    answer = ask(method, body=b'{"a": "\xff"}', CONTENT_TYPE="application/json")

    assert (answer.status, answer.body, answer.all("Content-Length")) == (200, b"ok", ["2"])
    [asked] = peer.asked
    assert (asked.line, asked.body) == (f"{method} /api/orders HTTP/1.1", b'{"a": "\xff"}')
    assert (asked.all("Content-Type"), asked.all("Content-Length")) == (
        ["application/json"],
        ["10"],
    )


@pytest.mark.parametrize(
    ("target", "arrived"),
    [
        ("/api/orders/", "/api/orders/"),
        ("/api/orders//a;b=c,d", "/api/orders//a%3Bb%3Dc%2Cd"),
        ("/api/orders/%C3%A9%20%3F%23%25zz", "/api/orders/%C3%A9%20%3F%23%25zz"),
        ("/api/orders/%00%0D%0AX:%20y", "/api/orders/%00%0D%0AX%3A%20y"),
        ("/api/orders/a%252Fb", "/api/orders/a%252Fb"),
        ("/api/orders/%FF", "/api/orders/%25FF"),  # as Django itself reads it: "%FF"
        ("/api/orders?a=1&a=2&b", "/api/orders?a=1&a=2&b"),
        ("/api/orders?q=a+b%20%2Bc%26&x=//?", "/api/orders?q=a+b%20%2Bc%26&x=//?"),
        ("/api/orders?q=100%&r=%20", "/api/orders?q=100%&r=%20"),
        ("/api/orders?q=\xc3\xa9", "/api/orders?q=%C3%A9"),
        ("/api/orders?cursor=cD0yMDI2%3D%3D", "/api/orders?cursor=cD0yMDI2%3D%3D"),
    ],
)
def test_path_and_query_mean_the_same_to_the_upstream(
    ask: Callable[..., Answer], peer: Upstream, target: str, arrived: str
) -> None:
    assert ask(target=target).status == 200
    assert peer.asked[0].line == f"GET {arrived} HTTP/1.1"


def test_headers_go_through_untouched_and_none_are_made_up(
    ask: Callable[..., Answer], peer: Upstream
) -> None:
    sent = {
        "HTTP_AUTHORIZATION": "Bearer a.b.c",
        "HTTP_IDEMPOTENCY_KEY": "k",
        "HTTP_ACCEPT": "application/json",
        "HTTP_COOKIE": "theme=dark; a=b",
        "HTTP_PREFER": "respond-async, wait=5",
    }
    ask(**sent)
    asked = peer.asked[0]

    for name, value in sent.items():
        assert asked.all(name.removeprefix("HTTP_").replace("_", "-")) == [value]
    assert not asked.all("User-Agent") + asked.all("Accept-Encoding") + asked.all("Content-Type")


def test_a_post_needs_no_csrf_token_here(ask: Callable[..., Answer], peer: Upstream) -> None:
    """Only the context knows how the caller signed in, so the context checks it."""
    assert ask("POST", body=b"{}", HTTP_COOKIE="sessionid=x").status == 200


def test_status_headers_and_body_come_back(ask: Callable[..., Answer], peer: Upstream) -> None:
    peer.answer = (
        b"HTTP/1.1 418 Teapot\r\nContent-Type: a/b\r\nLocation: /elsewhere\r\nX-Latin: \xe9\r\n"
        b"Set-Cookie: a=1; Path=/; Odd\r\nSet-Cookie: b=2\r\nVary: Accept\r\nVary: Cookie\r\n"
        b"Content-Encoding: gzip\r\nX-Folded: a\r\n b\r\nContent-Length: 3\r\n\r\n\x1f\x8b\xff"
    )
    answer = ask()

    assert (answer.status, answer.body) == (418, b"\x1f\x8b\xff")
    assert answer.all("Set-Cookie") == ["a=1; Path=/; Odd", "b=2"]
    assert answer.all("Vary") == ["Accept", "Cookie"]
    assert answer.all("Location") == ["/elsewhere"]
    assert answer.all("X-Latin") == ["\xe9"]
    assert " ".join(answer.all("X-Folded")[0].split()) == "a b"
    assert answer.all("Content-Type") == ["a/b"]
    assert answer.all("Content-Length") == ["3"]


def test_a_redirect_is_the_clients_to_follow(ask: Callable[..., Answer], peer: Upstream) -> None:
    peer.answer = b"HTTP/1.1 307 x\r\nLocation: /api/orders/2\r\nContent-Length: 0\r\n\r\n"

    assert (ask().status, len(peer.asked)) == (307, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_upstreams_own_problem_is_not_replaced(
    ask: Callable[..., Answer], peer: Upstream, status: int
) -> None:
    peer.answer = (
        b"HTTP/1.1 %d x\r\nContent-Type: application/problem+json\r\nRetry-After: 9\r\n"
        b'Content-Length: 13\r\n\r\n{"code": "x"}' % status
    )
    answer = ask()

    assert (answer.status, answer.body) == (status, b'{"code": "x"}')
    assert answer.all("Retry-After") == ["9"]


@pytest.mark.parametrize(
    ("method", "told", "status", "length"),
    [
        ("HEAD", b"200 OK\r\nContent-Length: 17\r\n\r\n", 200, ["17"]),
        ("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, []),
        ("GET", b"204 No Content\r\n\r\n", 204, []),
        ("GET", b'304 Not Modified\r\nETag: "1"\r\n\r\n', 304, []),
        ("GET", b"304 Not Modified\r\nContent-Length: 17\r\n\r\n", 304, ["17"]),
        ("GET", b"200 OK\r\nContent-Length: 0\r\n\r\n", 200, ["0"]),
    ],
)
def test_an_answer_without_a_body_ends_and_frees_its_connection(
    ask: Callable[..., Answer],
    peer: Upstream,
    method: str,
    told: bytes,
    status: int,
    length: list[str],
) -> None:
    peer.answer = b"HTTP/1.1 " + told
    for _ in range(3):
        answer = ask(method)
        assert (answer.status, answer.body, answer.all("Content-Length")) == (status, b"", length)
        assert not answer.all("Transfer-Encoding") + answer.all("Content-Type")
    assert peer.connections == 1


def test_a_chunked_answer_is_put_together(ask: Callable[..., Answer], peer: Upstream) -> None:
    peer.answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        b"2;ext=1\r\nab\r\n3\r\ncde\r\n0\r\nX-T: 1\r\n\r\n"
    )
    for _ in range(2):
        answer = ask()
        assert (answer.body, answer.all("Content-Length")) == (b"abcde", ["5"])
        assert not answer.all("Transfer-Encoding") + answer.all("Trailer")
    assert peer.connections == 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine 64 requests at once, or this peer's threads, may wait for a second."""
    monkeypatch.setattr(asking, "CONNECT_SECONDS", 30.0)
    monkeypatch.setattr(asking, "WAIT_SECONDS", 30.0)


@pytest.mark.usefixtures("patient")
def test_connections_are_kept_and_bounded(
    peer: Upstream, forwarding: Callable[..., Forwarding]
) -> None:
    gateway = forwarding(peer.address)

    async def several() -> list[Answer]:
        return await asyncio.gather(*(gateway.being_asked() for _ in range(POLICY.concurrency * 2)))

    answers = [*gateway.runner.run(several()), *gateway.runner.run(several())]
    assert {answer.status for answer in answers} == {200}
    assert len(peer.asked) == POLICY.concurrency * 4
    assert peer.connections <= POLICY.concurrency


# Bodies


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_chunked_request_arrives_whole(
    ask: Callable[..., Answer], peer: Upstream, method: str
) -> None:
    ask(method, body=b"abc", **CHUNKED)
    [asked] = peer.asked

    assert (asked.body, asked.all("Content-Length")) == (b"abc", ["3"])
    assert not asked.all("Transfer-Encoding")


def test_the_largest_body_arrives(ask: Callable[..., Answer], peer: Upstream) -> None:
    largest = b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    assert ask("POST", body=largest).status == 200
    assert peer.asked[0].body == largest


@pytest.mark.parametrize("framing", [{}, CHUNKED])
def test_a_larger_body_is_refused_here(
    ask: Callable[..., Answer], peer: Upstream, framing: dict[str, Any]
) -> None:
    larger = b"x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)

    assert_problem(ask("POST", body=larger, **framing), 413, "too_large")
    assert peer.asked == []


@pytest.mark.parametrize(
    "framing",
    [CHUNKED | {"CONTENT_LENGTH": "3"}, {"CONTENT_LENGTH": "+3"}, {"CONTENT_LENGTH": "4"}],
)
def test_a_body_of_doubtful_length_is_refused(
    ask: Callable[..., Answer], peer: Upstream, framing: dict[str, Any]
) -> None:
    """Otherwise its rest could be parsed as a request that was not checked."""
    assert_problem(ask("POST", body=b"abc", **framing), 400, "parse_error")
    assert peer.asked == []


# What must not pass

HOP_BY_HOP = {
    "Connection": "close, X-Secret, authorization",
    "Keep-Alive": "timeout=5",
    "Proxy-Connection": "keep-alive",
    "Proxy-Authorization": "Basic x",
    "Proxy-Authenticate": "Basic",
    "TE": "trailers",
    "Trailer": "X-T",
    "Upgrade": "h2c",
    "X-Secret": "named by Connection",
    "Authorization": "named by Connection",
}


def meta(headers: dict[str, str]) -> dict[str, str]:
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_do_not_reach_the_upstream(
    ask: Callable[..., Answer], peer: Upstream, name: str
) -> None:
    ask(**meta(HOP_BY_HOP | {"X-Kept": "1"}))
    [asked] = peer.asked

    assert (asked.all(name), asked.all("X-Kept")) == ([], ["1"])


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_do_not_reach_the_client(
    ask: Callable[..., Answer], peer: Upstream, name: str
) -> None:
    sent = "".join(f"{n}: {value}\r\n" for n, value in HOP_BY_HOP.items())
    peer.answer = f"HTTP/1.1 200 OK\r\n{sent}X-Kept: 1\r\nContent-Length: 0\r\n\r\n".encode()
    answer = ask()

    assert (answer.all(name), answer.all("X-Kept")) == ([], ["1"])


def test_connection_cannot_take_away_what_the_gateway_says(
    ask: Callable[..., Answer], peer: Upstream
) -> None:
    ask(HTTP_CONNECTION="Host, X-Forwarded-For, X-Request-ID, traceparent, Content-Length")
    [asked] = peer.asked

    for name in ("Host", "X-Forwarded-For", "X-Request-ID", "traceparent"):
        assert len(asked.all(name)) == 1, name


@pytest.mark.parametrize(
    "name",
    [
        *("X-User-Id", "X-User", "X-Actor", "X-Actor-Id", "X-Causation-Id", "X-Internal-Token"),
        *("X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-IP", "Forwarded", "Expect"),
    ],
)
def test_what_no_client_may_say_is_dropped(
    ask: Callable[..., Answer], peer: Upstream, name: str
) -> None:
    ask(**meta({name: "admin"}))

    assert "admin" not in str(peer.asked[0].headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "testserver"),
        ("X-Forwarded-Proto", "http"),
    ],
)
def test_who_asked_is_said_by_the_gateway_alone(
    ask: Callable[..., Answer], peer: Upstream, name: str, value: str
) -> None:
    ask(**meta({name: "evil"}))

    assert peer.asked[0].all(name) == [value]


def test_whom_the_gateway_names_is_believed_and_nobody_else(
    ask: Callable[..., Answer], peer: Upstream
) -> None:
    """Otherwise a limit per address counts all clients as one, or one as many."""
    ask(REMOTE_ADDR="203.0.113.7", HTTP_X_FORWARDED_FOR="9.9.9.9", HTTP_X_INTERNAL_GATEWAY="forged")
    [asked] = peer.asked
    [proof], [named] = asked.all(GATEWAY), asked.all("X-Forwarded-For")

    def seen(proof: str) -> str:
        headers = {"X-Forwarded-For": named, GATEWAY: proof}
        return client_address(RequestFactory().get("/", headers=headers))

    assert (seen(proof), seen("forged"), seen("")) == ("203.0.113.7", "127.0.0.1", "127.0.0.1")


def test_links_of_the_upstream_lead_to_the_gateway(
    ask: Callable[..., Answer], peer: Upstream
) -> None:
    ask(HTTP_HOST="shop.example:8443")

    assert peer.asked[0].all("Host") == ["shop.example:8443"]


def test_via_is_told(ask: Callable[..., Answer], peer: Upstream) -> None:
    ask(HTTP_VIA="1.1 cdn")

    assert peer.asked[0].all("Via") == ["1.1 cdn, 1.1 gateway"]


@pytest.mark.parametrize("dots", ["..", ".", "%2e%2e", "%2E./x", "x/../../../internal/users"])
def test_no_path_leaves_its_route(ask: Callable[..., Answer], peer: Upstream, dots: str) -> None:
    """A proxy in between may resolve the path, for example to /internal/."""
    assert_problem(ask(target=f"/api/orders/{dots}"), 404, "not_found")
    assert peer.asked == []


@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r"])
def test_a_field_with_a_line_break_is_refused(
    ask: Callable[..., Answer], peer: Upstream, ends: str
) -> None:
    """The rest of the value would be a field or a request that was not checked."""
    assert_problem(ask(HTTP_X_A=f"a{ends}X-User-Id: 1"), 400, "bad_request")
    assert peer.asked == []


def test_a_host_that_is_none_is_refused_here(ask: Callable[..., Answer], peer: Upstream) -> None:
    assert ask(HTTP_HOST="a, b").status == 400
    assert peer.asked == []


# Ids


def test_the_request_id_is_the_gateways_and_comes_back_once(
    ask: Callable[..., Answer], peer: Upstream
) -> None:
    peer.answer = (
        b"HTTP/1.1 200 OK\r\nX-Request-ID: upstream-1\r\nX-Request-ID: upstream-2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    kept, made = ask(HTTP_X_REQUEST_ID="abcd-1234"), ask(HTTP_X_REQUEST_ID="no good")

    assert kept.all("X-Request-ID") == peer.asked[0].all("X-Request-ID") == ["abcd-1234"]
    assert made.all("X-Request-ID") == peer.asked[1].all("X-Request-ID") != ["no good"]


def test_the_trace_goes_on_in_the_upstream(ask: Callable[..., Answer], peer: Upstream) -> None:
    given = trace.format_trace_id(0xABC), "0000000000000001"
    Context().run(ask, HTTP_TRACEPARENT=f"00-{given[0]}-{given[1]}-01")
    [traceparent] = peer.asked[0].all("traceparent")

    assert re.fullmatch(rf"00-{given[0]}-[0-9a-f]{{16}}-0[01]", traceparent)


# An upstream that fails


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.TOPOLOGY = replace(settings.TOPOLOGY, timeout=IMPATIENT)
    monkeypatch.setattr(asking, "MORE_SECONDS", 0.0)


def assert_try_again(answer: Answer, status: int, code: str) -> None:
    assert_problem(answer, status, code)
    assert answer.all("Retry-After") == ["2"]


def test_a_peer_that_is_down_is_a_503(ask: Callable[..., Answer], peer: Upstream) -> None:
    peer.listener.shutdown(socket.SHUT_RDWR)
    peer.listener.close()

    assert_try_again(ask(), 503, "unavailable")


def test_a_peer_that_takes_no_connection_is_a_503(
    forwarding: Callable[..., Forwarding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        host, port = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((host, port))
        answer = forwarding(f"{host}:{port}").asked()
        for one in waiting:
            one.close()

    assert answer.status == 503


def test_a_name_that_is_unknown_is_a_503(forwarding: Callable[..., Forwarding]) -> None:
    assert forwarding("no.such.invalid:1").asked().status == 503


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "told", [SILENCE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 200"]
)
def test_a_peer_that_stays_silent_is_a_504(
    ask: Callable[..., Answer], peer: Upstream, told: bytes
) -> None:
    peer.answer = told

    assert_try_again(ask("POST", body=b"{}"), 504, "timeout")
    assert len(peer.asked) == 1  # a POST that may have been done is not sent twice


@pytest.mark.usefixtures("impatient")
def test_an_answer_in_drops_has_to_end_in_time(ask: Callable[..., Answer], peer: Upstream) -> None:
    drop = b"1\r\nx\r\n"
    peer.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + drop * 500_000

    assert_try_again(ask(), 504, "timeout")


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nVary: Accept\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n[1, 2, 3",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_never_passed_on_as_whole(
    ask: Callable[..., Answer], peer: Upstream, told: bytes
) -> None:
    peer.answer, peer.breaks_off = told, True

    assert_try_again(ask(), 503, "unavailable")


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        None,
    ],
)
def test_an_answer_that_cannot_be_passed_on_is_a_502(
    ask: Callable[..., Answer], peer: Upstream, monkeypatch: pytest.MonkeyPatch, told: bytes | None
) -> None:
    monkeypatch.setattr(asking, "LONGEST_ANSWER", 1)
    peer.answer = told or OK

    assert_try_again(ask(), 502, "bad_gateway")


def test_an_interim_answer_is_not_the_answer(ask: Callable[..., Answer], peer: Upstream) -> None:
    peer.answer = b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n" + OK
    answer = ask()

    assert (answer.status, answer.body, answer.all("X-Early")) == (200, b"ok", [])


@pytest.mark.parametrize(("method", "body"), [("GET", b"ok"), ("HEAD", b"")])
def test_what_follows_an_answer_is_not_the_next_answer(
    ask: Callable[..., Answer], peer: Upstream, method: str, body: bytes
) -> None:
    """On a kept connection it would be the answer to the next client's request."""
    peer.answer = OK[: -len(b"ok")] + body + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for _ in range(3):
        assert ask(method).body == body
    assert peer.connections == 3


@pytest.mark.parametrize("value", [b"a\x01b", b"a\x00b", b"x" * 1_000_000])
def test_a_head_that_no_server_may_send_is_a_503(
    ask: Callable[..., Answer], peer: Upstream, value: bytes
) -> None:
    """A server in front of this one may read a control character as the end of a field."""
    peer.answer = b"HTTP/1.1 200 OK\r\nX-A: " + value + b"\r\nContent-Length: 0\r\n\r\n"

    assert_try_again(ask(), 503, "unavailable")


def test_failures_leave_no_connection_taken(
    ask: Callable[..., Answer], peer: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WAIT_SECONDS", 0.5)
    peer.answer, peer.breaks_off = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", True
    assert {ask().status for _ in range(3)} == {503}
    peer.answer, peer.breaks_off = b"HTTP/1.1 999 x\r\nContent-Length: 2\r\n\r\nok", False
    assert {ask().status for _ in range(3)} == {502}
    peer.answer = OK

    assert ask().body == b"ok"


def test_a_connection_that_the_peer_closed_meanwhile_is_replaced(
    ask: Callable[..., Answer], peer: Upstream
) -> None:
    peer.answer, peer.breaks_off = OK, True

    assert [ask().status for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("method", "key", "times"),
    [("GET", {}, 2), ("POST", {"HTTP_IDEMPOTENCY_KEY": "k"}, 2), ("POST", {}, 1), ("PUT", {}, 1)],
)
def test_only_what_may_come_twice_is_sent_again(
    ask: Callable[..., Answer], peer: Upstream, method: str, key: dict[str, str], times: int
) -> None:
    peer.answer, peer.breaks_off = b"", True

    assert_try_again(ask(method, **key), 503, "unavailable")
    assert len(peer.asked) == times


def test_another_address_answers_where_one_is_down(
    peer: Upstream, forwarding: Callable[..., Forwarding]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
    gateway = forwarding(nowhere, peer.address)
    assert {gateway.asked("POST").status for _ in range(10)} == {200}


@pytest.mark.usefixtures("impatient")
def test_an_address_that_is_frozen_is_asked_no_more(
    peer: Upstream, forwarding: Callable[..., Forwarding]
) -> None:
    """A frozen process got its full share of requests."""
    with upstream(answer=SILENCE) as frozen:
        gateway = forwarding(frozen.address, peer.address)
        statuses = [gateway.asked("POST").status for _ in range(20)]
        assert (statuses.count(200), len(frozen.asked)) in [(19, 1), (20, 0)]


@pytest.mark.usefixtures("impatient")
def test_a_peer_that_is_frozen_is_left_alone_at_once(peer: Upstream, ask: Any) -> None:
    """Each request to a frozen context waited, and occupied resources of others."""
    peer.answer = SILENCE
    for _ in range(POLICY.breaker_failures):
        assert_try_again(ask(), 504, "timeout")

    assert_try_again(ask(), 503, "unavailable")
    assert len(peer.asked) == POLICY.breaker_failures


def test_a_frozen_peer_takes_a_share_of_the_house_only(
    monkeypatch: pytest.MonkeyPatch, peer: Upstream, forwarding: Callable[..., Forwarding]
) -> None:
    """24 requests to a frozen context made all others wait 12 s."""
    monkeypatch.setattr(asking, "WAIT_SECONDS", 0.1)
    with upstream(answer=SILENCE) as frozen:
        gateway, other = forwarding(frozen.address), forwarding(peer.address)

        async def attack() -> tuple[list[Answer], list[Answer]]:
            many = POLICY.concurrency + asking.WAITING + 20
            asked = [asyncio.ensure_future(gateway.being_asked()) for _ in range(many)]
            while sum(one.done() for one in asked) < many - POLICY.concurrency:
                await asyncio.sleep(0.01)
            others = [await other.being_asked() for _ in range(20)]
            live = await gateway.being_asked(target="/health/live")
            refused = [one.result() for one in asked if one.done()]
            assert 0 < len(frozen.asked) <= POLICY.concurrency
            frozen.stopped.set()
            await asyncio.gather(*asked)
            other.gateway.close()
            return refused, [*others, live]

        refused, others = gateway.runner.run(attack())
    assert {(one.status, *one.all("Retry-After")) for one in refused} == {(503, "2")}
    assert {one.status for one in others} == {200}


def test_the_gateway_waits_longer_than_an_order_may_take() -> None:
    assert settings.TOPOLOGY.timeout + asking.MORE_SECONDS > WAIT_SECONDS


def loaded_by(placement: str, deployment: str) -> set[str]:
    """Return which modules of the proxy a web process of this deployment loads."""
    code = (
        "import sys, django; from severable.config.environment import load_settings;"
        "load_settings(); django.setup(set_prefix=False);"
        "from severable.http.serving import behind_proxies; behind_proxies(None);"
        "print(*sys.modules)"
    )
    place = {"SHOP_PLACEMENT": placement, "SHOP_DEPLOYMENT": deployment}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **place, "DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split()) & {"httptools", "apps.gateway.proxy", "apps.gateway.upstream"}


def test_only_a_deployment_that_forwards_loads_what_forwards() -> None:
    assert loaded_by("one", "shop") == loaded_by("split", "orders") == set()
    assert len(loaded_by("split", "gateway")) == 3


# Which paths


def gateway_of(placement: str, deployment: str) -> proxy.Gateway:
    shop = settings.TOPOLOGY
    upstreams = proxy.upstreams(shop, placement, shop.deployment(placement, deployment))
    front = Front(Threads(nothing_for_django))
    return proxy.Gateway(front, upstreams, import_module("apps.gateway.urls").composed)


def peer_of(gateway: proxy.Gateway, asked: str) -> str | None:
    found = gateway.upstream(asked)
    return found.addresses.all[0].where if found else None


@pytest.mark.parametrize("context", CONTEXTS)
def test_where_all_is_in_one_process_nothing_is_forwarded(context: str) -> None:
    for route in settings.TOPOLOGY.contexts[context].routes:
        assert peer_of(gateway_of("one", "shop"), route) is None


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_path_of_a_context_has_a_route_in_the_topology(context: str) -> None:
    """A new path without one would be 404 as soon as its context runs elsewhere."""
    gateway = gateway_of("split", "gateway")
    [where] = settings.TOPOLOGY.where("split", context).http
    for found, _ in patterns(import_module(f"apps.{context}.urls").urlpatterns):
        assert peer_of(gateway, f"/{found}") == where, found


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_route_leads_to_a_path(context: str) -> None:
    found = [f"/{p}" for p, _ in patterns(import_module(f"apps.{context}.urls").urlpatterns)]
    for route in settings.TOPOLOGY.contexts[context].routes:
        assert [p for p in found if f"{p}/".startswith(f"{route}/")], route


@pytest.mark.parametrize(
    ("asked", "deployment"),
    [
        ("/admin/orders/order/1/change/", "orders"),
        ("/admin/orders", "orders"),
        ("/admin/at/payments/severable_events/event/", "payments"),
        *((f"/admin/{path}/", "users") for path in ("login", "logout", "password_change/done")),
    ],
)
def test_the_admin_of_a_context_is_where_the_context_runs(asked: str, deployment: str) -> None:
    """One admin of six deployments: a path means the same in every placement."""
    [where] = settings.TOPOLOGY.deployment("split", deployment).http
    assert peer_of(gateway_of("split", "gateway"), asked) == where
    assert peer_of(gateway_of("one", "shop"), asked) is None


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "/admin/ordersX/",
            "/admin/at/",
            "/admin/at/nowhere/",
            "/admin/at/gateway/",
            "/admin/jsi18n/",
        ),
        *("/internal/users", "/api/ordersX", "/api/orders-x", "/api/orders\n", "/api"),
        *("/api/admin", "/admin/", "/health/live", "/metrics", "/api/schema"),
        *("//api/orders", "/x/api/orders"),
    ],
)
def test_nothing_else_is_forwarded(asked: str) -> None:
    assert peer_of(gateway_of("split", "gateway"), asked) is None


def test_what_the_gateway_composes_is_not_forwarded() -> None:
    gateway = gateway_of("split", "gateway")
    summary = f"/api/orders/{'0' * 8}-0000-0000-0000-{'0' * 12}/summary"

    assert peer_of(gateway, summary) is None
    assert peer_of(gateway, summary.removesuffix("/summary"))


TOPOLOGY = """
[contexts.a]
routes = ["/api/a"]
[contexts.b]
routes = {routes}
[contexts.gateway]
[calls]
timeout = 1
retries = 0
retry_budget = 0.2
concurrency = 1
breaker_failures = 1
breaker_seconds = 1
[placements.mixed.front]
contexts = ["gateway", "a"]
http = "front:1"
grpc = "front:2"
[placements.mixed.back]
contexts = ["b"]
http = "back:1"
grpc = "back:2"
"""


def loaded(folder: Path, routes: list[str]) -> topology.Topology:
    file = folder / "topology.toml"
    file.write_text(TOPOLOGY.format(routes=routes))
    return topology.load(file)


def test_only_what_runs_elsewhere_is_forwarded(tmp_path: Path) -> None:
    mixed = loaded(tmp_path, ["/api/b", "/api/a/of-b"])
    found = proxy.upstreams(mixed, "mixed", mixed.deployment("mixed", "front"))
    gateway = proxy.Gateway(Front(Threads(nothing_for_django)), found, [])

    admin = ["/admin/at/back", "/admin/b"]
    assert sorted(found) == [*admin, "/api/a/of-b", "/api/b"]
    assert peer_of(gateway, "/api/b/1") == peer_of(gateway, "/api/a/of-b/1") == "back:1"
    assert peer_of(gateway, "/api/a/1") is None


@pytest.mark.parametrize(
    "route", ["/internal", "/internal/b", "/", "api/b", "/api/b/", "/api/(b|c)", "/api/a"]
)
def test_a_route_that_is_not_public_is_refused(tmp_path: Path, route: str) -> None:
    with pytest.raises(TopologyError, match=r"contexts\.\w+\.routes"):
        loaded(tmp_path, [route])


def test_every_status_of_http_passes(ask: Callable[..., Answer], peer: Upstream) -> None:
    for status in HTTPStatus:
        if status >= 200:
            peer.answer = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status
            assert ask().status == status
