"""What both edges pass on between clients and contexts, and what they do if a context fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from django.conf import settings

from severable.http.answer import SECURITY
from tests.edge.answers import taken_apart
from tests.edge.conftest import LOST, Edge
from tests.edge.corpus import HOST
from tests.front.asking import Answered, exchanged
from tests.gateway.upstream import Asked, Upstream

pytestmark = pytest.mark.xdist_group("edge")

Ask = Callable[..., Answered]
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def ask(edge: Edge, peer: Upstream) -> Ask:
    """Send a request to an edge and parse its response."""

    def sent(
        target: str = "/api/orders", *headers: str, method: str = "GET", body: str = ""
    ) -> Answered:
        lines = [f"{method} {target} HTTP/1.1", "Connection: close", *headers]
        lines += [f"Content-Length: {len(body)}"] if body else []
        if not any(header.startswith("Host:") for header in headers):
            lines.append("Host: shop")
        request = "\r\n".join([*lines, "", body]).encode("latin-1")
        return taken_apart(exchanged(edge.address, request))

    return sent


def only(peer: Upstream) -> Asked:
    [asked] = peer.asked
    return asked


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
def test_method_and_body_arrive(ask: Ask, peer: Upstream, method: str) -> None:
    answer = ask("/api/orders", "Content-Type: application/json", method=method, body='{"a": 1}')

    assert (answer.status, answer.body) == (200, b"ok")
    assert (only(peer).line, only(peer).body) == (f"{method} /api/orders HTTP/1.1", b'{"a": 1}')
    assert only(peer).all("Content-Type") == ["application/json"]


@pytest.mark.parametrize(
    "target",
    [
        "/api/orders/",
        "/api/orders//a;b=c,d",
        "/api/orders/%C3%A9%20%3F%23%25zz",
        "/api/orders/%0D%0AX:%20y",
        "/api/orders/a%252Fb",
        "/api/orders/a%2Fb",
        "/api/orders?a=1&a=2&b",
        "/api/orders?q=a+b%20%2Bc%26&x=//?",
        "/api/orders?q=100%&r=%20",
        "/api/orders?cursor=cD0yMDI2%3D%3D",
    ],
)
def test_path_and_query_mean_the_same_to_the_context(ask: Ask, peer: Upstream, target: str) -> None:
    assert ask(target).status == 200
    arrived = only(peer).line.split(" ")[1]
    path, _, query = target.partition("?")
    assert unquote_to_bytes(arrived.partition("?")[0]) == unquote_to_bytes(path)
    assert arrived.partition("?")[2] == query


def test_what_a_context_reads_goes_through(ask: Ask, peer: Upstream) -> None:
    sent = {
        "Authorization": "Bearer a.b.c",
        "Idempotency-Key": "k",
        "Accept": "application/json",
        "Cookie": "theme=dark; sessionid_gateway=1",
        "Prefer": "respond-async, wait=5",
        "X-CSRFToken": "t",
        "Origin": "https://shop",
    }
    ask("/api/orders", *(f"{name}: {value}" for name, value in sent.items()))

    for name, value in sent.items():
        assert only(peer).all(name) == [value], name
    assert not only(peer).all("User-Agent") + only(peer).all("Content-Type")


FORBIDDEN = [
    *("X-User-Id", "X-User", "X-User-Anything", "X-Actor", "X-Actor-Id", "X-Causation-Id"),
    *("X-Internal-Token", "X-Internal-Gateway", "X-Forwarded-Port", "X-Forwarded-Prefix"),
    *("X-Real-IP", "Forwarded", "X_Forwarded_For", "X_User_Id", "Keep-Alive", "Proxy-Connection"),
    *("Proxy-Authorization", "Proxy-Authenticate", "TE", "Trailer", "Upgrade"),
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_no_client_may_say_reaches_no_context(ask: Ask, peer: Upstream, name: str) -> None:
    assert ask("/api/orders", f"{name}: evil").status == 200
    assert "evil" not in str(only(peer).headers)


@pytest.mark.parametrize("named", ["X-Secret", "Authorization", "Host, X-Request-ID"])
def test_a_header_that_connection_names_reaches_no_context(
    edge: Edge, peer: Upstream, named: str
) -> None:
    lines = b"X-Secret: evil\r\nAuthorization: evil\r\nX-Request-ID: from-client\r\n"
    request = b"GET /api/orders HTTP/1.1\r\n" + HOST + lines
    exchanged(edge.address, request + b"Connection: close, %s\r\n\r\n" % named.encode())

    for asked in peer.asked:
        assert len(asked.all("Host")) == len(asked.all("X-Request-ID")) == 1
        assert "evil" not in [value for each in named.split(", ") for value in asked.all(each)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "shop.example:8443"),
        ("X-Forwarded-Proto", "http"),
        ("Host", "shop.example:8443"),
    ],
)
def test_who_asked_is_said_by_the_edge_alone(
    ask: Ask, peer: Upstream, name: str, value: str
) -> None:
    """Links lead back to the edge, and a limit per address counts clients, not edges."""
    forged = [f"{name}: evil"] if name != "Host" else []
    ask("/api/orders", "Host: shop.example:8443", *forged)

    assert only(peer).all(name) == [value]


@pytest.mark.parametrize("given", ["abcd-1234", "no good", "short", "x" * 65, "evil\\n12345678"])
def test_a_request_has_one_id(ask: Ask, peer: Upstream, given: str) -> None:
    """The id is a valid one of the client, or a new one, and never two."""
    peer.answer = (
        b"HTTP/1.1 200 OK\r\nX-Request-ID: upstream-1\r\nX-Request-ID: upstream-2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    [answered] = ask("/api/orders", f"X-Request-ID: {given}").all("X-Request-ID")

    assert only(peer).all("X-Request-ID") == [answered]
    assert (answered == given) == (given == "abcd-1234")
    assert re.fullmatch(r"[\w.:-]{8,64}", answered)


@pytest.mark.parametrize("given", [f"00-{TRACE}-00f067aa0ba902b7-01", "nonsense", ""])
def test_a_trace_goes_on_or_begins(ask: Ask, peer: Upstream, given: str) -> None:
    ask("/api/orders", *([f"traceparent: {given}"] if given else []))
    [traceparent] = only(peer).all("traceparent")

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0\d", traceparent)
    assert (TRACE in traceparent) == (TRACE in given)


def test_an_answer_comes_back_as_it_was(ask: Ask, peer: Upstream) -> None:
    peer.answer = (
        b"HTTP/1.1 418 Teapot\r\nContent-Type: a/b\r\nLocation: /elsewhere\r\n"
        b"Set-Cookie: a=1; Path=/; Odd\r\nSet-Cookie: b=2\r\nVary: Accept\r\nVary: Cookie\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\xff"
    )
    answer = ask()

    assert (answer.status, answer.body) == (418, b"\x1f\x8b\xff")
    assert answer.all("Set-Cookie") == ["a=1; Path=/; Odd", "b=2"]
    assert answer.all("Vary") == ["Accept", "Cookie"]
    assert answer.all("Location") == ["/elsewhere"]
    assert answer.all("Content-Type") == ["a/b"]


@pytest.mark.parametrize(
    "name",
    [
        *("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "TE"),
        *("Trailer", "Upgrade"),
    ],
)
def test_hop_by_hop_headers_do_not_reach_the_client(ask: Ask, peer: Upstream, name: str) -> None:
    peer.answer = b"HTTP/1.1 200 OK\r\n%s: evil\r\nContent-Length: 0\r\n\r\n" % name.encode()
    assert "evil" not in str(ask().headers)


def test_a_redirect_is_the_clients_to_follow(ask: Ask, peer: Upstream) -> None:
    peer.answer = b"HTTP/1.1 307 x\r\nLocation: http://shop/api/2\r\nContent-Length: 0\r\n\r\n"

    answer = ask()
    assert (answer.status, len(peer.asked)) == (307, 1)
    assert answer.all("Location") == ["http://shop/api/2"]


@pytest.mark.parametrize("status", [400, 404, 413, 500, 502, 503, 504])
def test_a_contexts_own_problem_is_not_replaced(ask: Ask, peer: Upstream, status: int) -> None:
    peer.answer = (
        b"HTTP/1.1 %d x\r\nContent-Type: application/problem+json\r\nRetry-After: 9\r\n"
        b'Content-Length: 13\r\n\r\n{"code": "x"}' % status
    )
    answer = ask()

    assert (answer.status, answer.body) == (status, b'{"code": "x"}')
    assert answer.all("Retry-After") == ["9"]


def test_the_largest_body_arrives(ask: Ask, peer: Upstream) -> None:
    """The edge's limit is that of the contexts."""
    largest = "x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    assert ask(method="POST", body=largest).status == 200
    assert only(peer).body == largest.encode()


@pytest.mark.parametrize("path", ["/api/payments", "/api/notifications"])
def test_a_context_that_is_not_there_is_a_503_and_harms_no_other(ask: Ask, path: str) -> None:
    """nginx did not even start where it could not resolve one context's name."""
    answer = ask(path)
    body = json.loads(answer.body)

    assert (answer.status, body["status"], body["code"]) == (503, 503, "unavailable")
    assert answer.all("Retry-After") == ["2"]
    assert answer.all("Content-Type") == ["application/problem+json"]
    assert re.fullmatch(r"[0-9a-f]{32}", body["trace_id"])
    assert len(answer.all("X-Request-ID")) == 1
    for name, value in SECURITY.items():
        assert answer.all(name) == [value], name
    assert not any(where.encode() in answer.body for where in LOST.values())
    assert ask().status == 200


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nVary: Accept\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_never_passed_on_as_whole(
    edge: Edge, ask: Ask, peer: Upstream, told: bytes
) -> None:
    """nginx may have sent the beginning already. Then the connection ends before the body does.

    It passes on as whole what has neither length nor chunks, or no head at all. Contexts answer so
    never, and the embedded gateway refuses it (tests/gateway).
    """
    peer.answer, peer.breaks_off = told, True
    answer = ask()

    if edge.name == "nginx" and answer.status == 200:
        lengths = [int(length) for length in answer.all("Content-Length")]
        assert lengths == [9] or answer.all("Transfer-Encoding") == ["chunked"]
        assert not answer.body.endswith(b"0\r\n\r\n") and len(answer.body) != 9
    elif edge.name == "embedded" or answer.status:
        assert (answer.status, json.loads(answer.body)["code"]) == (503, "unavailable")


def test_a_post_that_may_have_been_done_is_not_sent_twice(ask: Ask, peer: Upstream) -> None:
    peer.answer, peer.breaks_off = b"", True

    assert ask(method="POST", body="{}").status == 503
    assert len(peer.asked) == 1
