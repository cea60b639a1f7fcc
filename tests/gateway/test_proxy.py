"""What the gateway forwards, and what it does not.

No test here may use the database: that a forwarded request costs no query is tested by all.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from django.conf import settings
from django.core.signals import request_started
from django.db import close_old_connections
from django.test import RequestFactory
from django.urls import URLResolver, path, re_path
from django.urls.resolvers import RegexPattern
from opentelemetry import trace

from apps.gateway import proxy
from apps.orders.api import WAIT_SECONDS
from shop import topology, wsgi
from shop.api.address import GATEWAY, client_address
from shop.policies import TopologyError
from shop.rpc import balance
from tests.api.routes import patterns
from tests.gateway.upstream import OK, SILENCE, Upstream, upstream

CONTEXTS = sorted(set(settings.TOPOLOGY.contexts) - {"gateway"})
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


@dataclass
class Answer:
    """What a WSGI server would send."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for n, value in self.headers if n.lower() == name.lower()]


@pytest.fixture
def peer() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(peer: Upstream, settings: Any) -> Iterator[None]:
    """All of /api/orders is the peer's."""
    urls = ModuleType("urls")
    forwarded = re_path(r"^api/orders(?:/|\Z)", proxy.forward, {"peer": (peer.address,)})
    urls.urlpatterns = [forwarded]  # type: ignore[attr-defined]
    settings.ROOT_URLCONF = urls
    request_started.disconnect(close_old_connections)  # as Django's test client does
    yield
    request_started.connect(close_old_connections)


def ask(method: str = "GET", target: str = "/api/orders", body: bytes = b"", **meta: Any) -> Answer:
    """Ask the gateway, as a WSGI server does."""
    environ = RequestFactory().generic(method, "/").environ
    raw, _, query = target.partition("?")
    environ["PATH_INFO"], environ["QUERY_STRING"] = unquote_to_bytes(raw).decode("latin-1"), query
    environ["wsgi.input"] = BytesIO(body)
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    environ |= meta
    started: list[Any] = []
    response = wsgi.application(environ, lambda status, headers: started.extend([status, headers]))
    return Answer(int(started[0].split()[0]), started[1], b"".join(response))


def assert_problem(answer: Answer, status: int, code: str) -> None:
    body = json.loads(answer.body)
    assert (answer.status, body["status"], body["code"]) == (status, status, code)
    assert answer.all("Content-Type") == ["application/problem+json"]
    assert body["trace_id"]
    assert len(answer.all("X-Request-ID")) == 1
    assert not re.search(rb"Traceback|urllib3|127\.0\.0\.1", answer.body)


# What goes through


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
def test_method_and_body_arrive(peer: Upstream, method: str) -> None:
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
        ("/api/orders?q=100%&r=%20", "/api/orders?q=100%25&r=%20"),
        ("/api/orders?q=\xc3\xa9", "/api/orders?q=%C3%A9"),
        ("/api/orders?cursor=cD0yMDI2%3D%3D", "/api/orders?cursor=cD0yMDI2%3D%3D"),
    ],
)
def test_path_and_query_mean_the_same_to_the_upstream(
    peer: Upstream, target: str, arrived: str
) -> None:
    assert ask(target=target).status == 200
    assert peer.asked[0].line == f"GET {arrived} HTTP/1.1"


def test_headers_go_through_untouched_and_none_are_made_up(peer: Upstream) -> None:
    sent = {
        "HTTP_AUTHORIZATION": "Bearer a.b.c",
        "HTTP_IDEMPOTENCY_KEY": "k",
        "HTTP_ACCEPT": "application/json",
        "HTTP_COOKIE": "sessionid=1; csrftoken=abc",
        "HTTP_PREFER": "respond-async, wait=5",
    }
    ask(**sent)
    asked = peer.asked[0]

    for name, value in sent.items():
        assert asked.all(name.removeprefix("HTTP_").replace("_", "-")) == [value]
    assert not asked.all("User-Agent") + asked.all("Accept-Encoding") + asked.all("Content-Type")


def test_a_post_needs_no_csrf_token_here(peer: Upstream) -> None:
    """Whether it needs one, the context decides, which alone knows how the caller signed in."""
    assert ask("POST", body=b"{}", HTTP_COOKIE="sessionid=x").status == 200


def test_status_headers_and_body_come_back(peer: Upstream) -> None:
    peer.answer = (
        b"HTTP/1.1 418 Teapot\r\nContent-Type: a/b\r\nLocation: /elsewhere\r\nX-Latin: \xe9\r\n"
        b"Set-Cookie: a=1; Path=/; Odd\r\nSet-Cookie: b=2\r\nVary: Accept\r\nVary: Cookie\r\n"
        b"Content-Encoding: gzip\r\nX-Folded: a\r\n b\r\nContent-Length: 3\r\n\r\n\x1f\x8b\xff"
    )
    answer = ask()

    assert (answer.status, answer.body) == (418, b"\x1f\x8b\xff")
    assert answer.all("Set-Cookie") == ["a=1; Path=/; Odd", "b=2"]
    assert answer.all("Vary") == ["Accept, Cookie"]
    assert answer.all("Location") == ["/elsewhere"]
    assert answer.all("X-Latin") == ["\xe9"]
    assert " ".join(answer.all("X-Folded")[0].split()) == "a b"
    assert answer.all("Content-Type") == ["a/b"]
    assert answer.all("Content-Length") == ["3"]


def test_a_redirect_is_the_clients_to_follow(peer: Upstream) -> None:
    peer.answer = b"HTTP/1.1 307 x\r\nLocation: /api/orders/2\r\nContent-Length: 0\r\n\r\n"

    assert (ask().status, len(peer.asked)) == (307, 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_upstreams_own_problem_is_not_replaced(peer: Upstream, status: int) -> None:
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
    peer: Upstream, method: str, told: bytes, status: int, length: list[str]
) -> None:
    peer.answer = b"HTTP/1.1 " + told
    for _ in range(3):
        answer = ask(method)
        assert (answer.status, answer.body, answer.all("Content-Length")) == (status, b"", length)
        assert not answer.all("Transfer-Encoding") + answer.all("Content-Type")
    assert peer.connections == 1


def test_a_chunked_answer_is_put_together(peer: Upstream) -> None:
    peer.answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        b"2;ext=1\r\nab\r\n3\r\ncde\r\n0\r\nX-T: 1\r\n\r\n"
    )
    for _ in range(2):
        answer = ask()
        assert (answer.body, answer.all("Content-Length")) == (b"abcde", ["5"])
        assert not answer.all("Transfer-Encoding") + answer.all("Trailer")
    assert peer.connections == 1


def test_connections_are_kept_and_shared_by_threads(peer: Upstream) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: ask(), range(40)))

    assert {answer.status for answer in answers} == {200}
    assert len(peer.asked) == 40
    assert peer.connections <= 4


# Bodies


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_chunked_request_arrives_whole(peer: Upstream, method: str) -> None:
    ask(method, **CHUNKED, **{"wsgi.input": BytesIO(b"abc")})
    [asked] = peer.asked

    assert (asked.body, asked.all("Content-Length")) == (b"abc", ["3"])
    assert not asked.all("Transfer-Encoding")


def test_the_largest_body_arrives(peer: Upstream) -> None:
    largest = b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    assert ask("POST", body=largest).status == 200
    assert peer.asked[0].body == largest


@pytest.mark.parametrize("framing", [{}, {"CONTENT_LENGTH": "", **CHUNKED}])
def test_a_larger_body_is_refused_here(peer: Upstream, framing: dict[str, Any]) -> None:
    larger = b"x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)

    assert_problem(ask("POST", body=larger, **framing), 413, "too_large")
    assert peer.asked == []


@pytest.mark.parametrize(
    "framing",
    [
        CHUNKED | {"CONTENT_LENGTH": "3"},
        CHUNKED | {"CONTENT_LENGTH": "3", "HTTP_TRANSFER_ENCODING": "identity"},
        CHUNKED | {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "gzip, chunked"},
        CHUNKED | {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked, chunked"},
        CHUNKED | {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "\x0bchunked"},
        CHUNKED | {"CONTENT_LENGTH": "", "wsgi.input_terminated": False},
        {"CONTENT_LENGTH": "+3"},
        {"CONTENT_LENGTH": "-3"},
        {"CONTENT_LENGTH": "3, 3"},
        {"CONTENT_LENGTH": "٣"},
        {"CONTENT_LENGTH": "9" * 5000},
        {"CONTENT_LENGTH": "4"},  # the client went away
    ],
)
def test_a_body_of_doubtful_length_is_refused(peer: Upstream, framing: dict[str, Any]) -> None:
    """Else its rest could be read as a request that nobody has looked at."""
    assert_problem(ask("POST", body=b"abc", **framing), 400, "parse_error")
    assert peer.asked == []


def test_a_content_length_with_an_underscore_is_none(peer: Upstream) -> None:
    ask("POST", body=b"abc", HTTP_CONTENT_LENGTH="1", HTTP_CONTENT_TYPE="x/y", CONTENT_TYPE="a/b")
    [asked] = peer.asked

    assert (asked.all("Content-Length"), asked.all("Content-Type")) == (["3"], ["a/b"])


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
def test_hop_by_hop_headers_do_not_reach_the_upstream(peer: Upstream, name: str) -> None:
    ask(**meta(HOP_BY_HOP | {"X-Kept": "1"}))
    [asked] = peer.asked

    assert (asked.all(name), asked.all("X-Kept")) == ([], ["1"])


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_headers_do_not_reach_the_client(peer: Upstream, name: str) -> None:
    sent = "".join(f"{n}: {value}\r\n" for n, value in HOP_BY_HOP.items())
    peer.answer = f"HTTP/1.1 200 OK\r\n{sent}X-Kept: 1\r\nContent-Length: 0\r\n\r\n".encode()
    answer = ask()

    assert (answer.all(name), answer.all("X-Kept")) == ([], ["1"])


def test_connection_cannot_take_away_what_the_gateway_says(peer: Upstream) -> None:
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
def test_what_no_client_may_say_is_dropped(peer: Upstream, name: str) -> None:
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
def test_who_asked_is_said_by_the_gateway_alone(peer: Upstream, name: str, value: str) -> None:
    ask(**meta({name: "evil"}))

    assert peer.asked[0].all(name) == [value]


def test_whom_the_gateway_names_is_believed_and_nobody_else(peer: Upstream) -> None:
    """Else a limit per address would count all clients as one, or each as many."""
    ask(REMOTE_ADDR="203.0.113.7", HTTP_X_FORWARDED_FOR="9.9.9.9", HTTP_X_INTERNAL_GATEWAY="forged")
    [asked] = peer.asked
    [proof], [named] = asked.all(GATEWAY), asked.all("X-Forwarded-For")

    def seen(proof: str) -> str:
        headers = {"X-Forwarded-For": named, GATEWAY: proof}
        return client_address(RequestFactory().get("/", headers=headers))

    assert (seen(proof), seen("forged"), seen("")) == ("203.0.113.7", "127.0.0.1", "127.0.0.1")


def test_links_of_the_upstream_lead_to_the_gateway(peer: Upstream) -> None:
    ask(HTTP_HOST="shop.example:8443")

    assert peer.asked[0].all("Host") == ["shop.example:8443"]


def test_via_is_told(peer: Upstream) -> None:
    ask(HTTP_VIA="1.1 cdn")

    assert peer.asked[0].all("Via") == ["1.1 cdn, 1.1 gateway"]


def test_the_processs_environment_is_no_header(
    peer: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """granian adds it to every request's."""
    monkeypatch.setitem(wsgi.INHERITED, "HTTP_USERS", "10.0.0.7:8001")
    ask(HTTP_USERS="10.0.0.7:8001")

    assert peer.asked[0].all("Users") == []


@pytest.mark.parametrize("dots", ["..", ".", "%2e%2e", "%2E./x", "x/../../../internal/users"])
def test_no_path_leaves_its_route(peer: Upstream, dots: str) -> None:
    """Something between here and the upstream may resolve it: to /internal/, for example."""
    assert_problem(ask(target=f"/api/orders/{dots}"), 404, "not_found")
    assert peer.asked == []


def test_a_host_that_is_none_is_refused_here(peer: Upstream) -> None:
    assert ask(HTTP_HOST="a, b").status == 400
    assert peer.asked == []


# Ids


def test_the_request_id_is_the_gateways_and_comes_back_once(peer: Upstream) -> None:
    peer.answer = (
        b"HTTP/1.1 200 OK\r\nX-Request-ID: upstream-1\r\nX-Request-ID: upstream-2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    kept, made = ask(HTTP_X_REQUEST_ID="abcd-1234"), ask(HTTP_X_REQUEST_ID="no good")

    assert kept.all("X-Request-ID") == peer.asked[0].all("X-Request-ID") == ["abcd-1234"]
    assert made.all("X-Request-ID") == peer.asked[1].all("X-Request-ID") != ["no good"]


def test_the_trace_goes_on_in_the_upstream(peer: Upstream) -> None:
    given = trace.format_trace_id(0xABC), "0000000000000001"
    Context().run(ask, HTTP_TRACEPARENT=f"00-{given[0]}-{given[1]}-01")
    [traceparent] = peer.asked[0].all("traceparent")

    assert re.fullmatch(rf"00-{given[0]}-[0-9a-f]{{16}}-0[01]", traceparent)


# An upstream that fails


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.TOPOLOGY = replace(settings.TOPOLOGY, timeout=0.05)
    monkeypatch.setattr(proxy, "MORE_SECONDS", 0.0)
    monkeypatch.setattr(balance, "CONNECT_SECONDS", 0.05)


def assert_try_again(answer: Answer, status: int, code: str) -> None:
    assert_problem(answer, status, code)
    assert answer.all("Retry-After") == ["2"]


def test_a_peer_that_is_down_is_a_503(peer: Upstream) -> None:
    peer.listener.shutdown(socket.SHUT_RDWR)
    peer.listener.close()

    assert_try_again(ask(), 503, "unavailable")


@pytest.mark.usefixtures("impatient")
def test_a_peer_that_takes_no_connection_is_a_503(rf: RequestFactory) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        host, port = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((host, port))
        answer = proxy.forward(rf.get("/api/orders"), peer=(f"{host}:{port}",))
        for one in waiting:
            one.close()

    assert answer.status_code == 503


def test_a_name_that_is_unknown_is_a_503(rf: RequestFactory) -> None:
    assert proxy.forward(rf.get("/api/orders"), peer=("no.such.invalid:1",)).status_code == 503


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "told", [SILENCE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 200"]
)
def test_a_peer_that_stays_silent_is_a_504(peer: Upstream, told: bytes) -> None:
    peer.answer = told

    assert_try_again(ask("POST", body=b"{}"), 504, "timeout")
    assert len(peer.asked) == 1  # a POST that may have been done is not sent twice


@pytest.mark.usefixtures("impatient")
def test_an_answer_in_drops_has_to_end_in_time(peer: Upstream) -> None:
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
def test_an_answer_that_breaks_off_is_never_passed_on_as_whole(peer: Upstream, told: bytes) -> None:
    peer.answer, peer.breaks_off = told, True

    assert_try_again(ask(), 503, "unavailable")


@pytest.mark.parametrize("told", [b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", None])
def test_an_answer_that_cannot_be_passed_on_is_a_502(
    peer: Upstream, monkeypatch: pytest.MonkeyPatch, told: bytes | None
) -> None:
    monkeypatch.setattr(proxy, "LONGEST_ANSWER", 1)
    peer.answer = told or OK

    assert_try_again(ask(), 502, "bad_gateway")


def test_failures_leave_no_connection_taken(
    peer: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "CONNECTIONS", 1)
    monkeypatch.setattr(proxy, "POOL_SECONDS", 0)
    peer.answer, peer.breaks_off = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", True
    assert {ask().status for _ in range(3)} == {503}
    peer.answer, peer.breaks_off = b"HTTP/1.1 999 x\r\nContent-Length: 2\r\n\r\nok", False
    assert {ask().status for _ in range(3)} == {502}
    peer.answer = OK

    assert ask().body == b"ok"


def test_a_connection_that_the_peer_closed_meanwhile_is_replaced(peer: Upstream) -> None:
    peer.answer, peer.breaks_off = OK, True

    assert [ask().status for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("method", "key", "times"),
    [("GET", {}, 2), ("POST", {"HTTP_IDEMPOTENCY_KEY": "k"}, 2), ("POST", {}, 1), ("PUT", {}, 1)],
)
def test_only_what_may_come_twice_is_sent_again(
    peer: Upstream, method: str, key: dict[str, str], times: int
) -> None:
    peer.answer, peer.breaks_off = b"", True

    assert_try_again(ask(method, **key), 503, "unavailable")
    assert len(peer.asked) == times


def test_another_address_answers_where_one_is_down(peer: Upstream, rf: RequestFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
    for _ in range(10):
        assert proxy.forward(rf.post("/api/orders"), (nowhere, peer.address)).status_code == 200


def test_the_gateway_waits_longer_than_an_order_may_take() -> None:
    assert settings.TOPOLOGY.timeout + proxy.MORE_SECONDS > WAIT_SECONDS


# Which paths


def routes(placement: str, deployment: str) -> list[Any]:
    shop = settings.TOPOLOGY
    return proxy.forwarded(shop, placement, shop.deployment(placement, deployment))


def peer_of(urls: list[Any], asked: str) -> str:
    [address] = URLResolver(RegexPattern(r"^/"), urls).resolve(asked).kwargs["peer"]
    return str(address)


def test_where_all_is_in_one_process_nothing_is_forwarded() -> None:
    assert routes("one", "shop") == []
    found = {view for _, view in patterns(import_module("apps.gateway.urls").urlpatterns)}
    assert proxy.forward not in found


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_path_of_a_context_has_a_route_in_the_topology(context: str) -> None:
    """A new path without one would be 404 as soon as its context runs elsewhere."""
    urls = routes("split", "gateway")
    [where] = settings.TOPOLOGY.where("split", context).http
    for found, _ in patterns(import_module(f"apps.{context}.urls").urlpatterns):
        assert peer_of(urls, f"/{found}") == where, found


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_route_leads_to_a_path(context: str) -> None:
    found = [f"/{p}" for p, _ in patterns(import_module(f"apps.{context}.urls").urlpatterns)]
    for route in settings.TOPOLOGY.contexts[context].routes:
        assert [p for p in found if f"{p}/".startswith(f"{route}/")], route


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "/internal/users",
            "/api/ordersX",
            "/api/orders-x",
            "/api/orders\n",
            "/api",
            "/api/admin",
        ),
        *("/admin/", "/health/live", "/metrics", "/api/schema", "//api/orders", "/x/api/orders"),
    ],
)
def test_nothing_else_is_forwarded(asked: str) -> None:
    with pytest.raises(Exception, match="'tried'"):
        peer_of(routes("split", "gateway"), asked)


def test_what_the_gateway_composes_is_not_forwarded() -> None:
    composed = import_module("apps.gateway.urls").urlpatterns
    urls = [*composed, *routes("split", "gateway")]
    summary = f"/api/orders/{'0' * 8}-0000-0000-0000-{'0' * 12}/summary"

    assert URLResolver(RegexPattern(r"^/"), urls).resolve(summary).func is composed[0].callback
    assert peer_of(urls, summary.removesuffix("/summary"))


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
    urls = proxy.forwarded(mixed, "mixed", mixed.deployment("mixed", "front"))

    assert [str(url.pattern) for url in urls] == [
        r"^api/a/of\-b(?:/|\Z)",
        r"^api/b(?:/|\Z)",
    ]
    assert peer_of([*urls, path("api/a", proxy.forward)], "/api/b/1") == "back:1"


@pytest.mark.parametrize(
    "route", ["/internal", "/internal/b", "/", "api/b", "/api/b/", "/api/(b|c)", "/api/a"]
)
def test_a_route_that_is_not_public_is_refused(tmp_path: Path, route: str) -> None:
    with pytest.raises(TopologyError, match=r"contexts\.\w+\.routes: "):
        loaded(tmp_path, [route])


def test_every_status_of_http_passes(peer: Upstream) -> None:
    for status in HTTPStatus:
        if status >= 200:
            peer.answer = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status
            assert ask().status == status
