"""The gateway's proxy: what is asked of a context that runs elsewhere is asked there.

Bodies are read whole in both directions: half a request is never sent on, and of an upstream
that breaks off comes a 503, not half an answer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from functools import cache
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.request import HttpHeaders
from django.urls import URLPattern, re_path
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, NotFound, ParseError
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ProtocolError, TimeoutError
from urllib3.util import SKIP_HEADER

from shop.api.address import GATEWAY, client_address
from shop.api.errors import RETRY_AFTER, problem, problem_answer
from shop.api.parsers import TooLarge
from shop.rpc import identity
from shop.rpc.balance import Peer, certified
from shop.telemetry import correlation, tracing
from shop.topology import Deployment, Topology

log = logging.getLogger(__name__)

CONNECTIONS = 32  # to one address, at most
POOL_SECONDS = 1  # to wait for one of these connections
MORE_SECONDS = 7.0  # than a call may take: placing an order waits for several, 10 s in all
LONGEST_ANSWER = 16 * 1024 * 1024
PART = 65_536
SAFE = ("GET", "HEAD", "OPTIONS")

# RFC 9110 7.6.1, and the trailers, of which there are none once a body has been read whole.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
HOP_BY_HOP |= {"proxy-authenticate", "proxy-authorization", "trailer"}
OURS = {"host", "content-length", "expect", "forwarded", "via", "x-real-ip", "x-request-id"}
OURS |= {"traceparent"}
FROM_NO_CLIENT = ("x-forwarded-", "x-user", "x-actor", "x-causation", "x-internal")
# WSGI makes `Content_Length` these, which are not what the server itself went by.
MISLEADING = {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"}
UNSET = {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER}  # or urllib3 sets its own

STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class BadAnswer(HTTPError):
    """An upstream answered what cannot be passed on."""


class Forwarded(HttpResponse):
    """An upstream's answer. Django would keep only one Set-Cookie, and give an answer that has
    no body a Content-Length of 0: HEAD and 304 keep the upstream's, 204 has none."""

    def __init__(self, method: str, answer: BaseHTTPResponse, body: bytes) -> None:
        super().__init__(body, status=answer.status)
        del self.headers["Content-Type"]
        self._cookies: list[str] = []
        keeps_length = method == "HEAD" or answer.status == 304
        dropped = HOP_BY_HOP if keeps_length else HOP_BY_HOP | {"content-length"}
        named = ",".join(answer.headers.getlist("connection"))
        for name, value in _without(dropped, named, answer.headers.items()):
            self._add(name, " ".join(value.split("\r\n")))
        has_body = not keeps_length and answer.status != 204
        self._has_length = has_body or "Content-Length" in self.headers

    def _add(self, name: str, value: str) -> None:
        if name.lower() == "set-cookie":
            self._cookies.append(value)
        elif name in self.headers:
            self.headers[name] += f", {value}"
        else:
            self.headers[name] = value

    def items(self) -> Iterator[tuple[str, str]]:
        """The headers, for the server."""
        for name, value in super().items():
            if self._has_length or name.lower() != "content-length":
                yield name, value
        yield from (("Set-Cookie", cookie) for cookie in self._cookies)


def forwarded(topology: Topology, placement: str, deployment: Deployment) -> list[URLPattern]:
    """Routes to every context that another deployment runs, the longest first."""
    peers = {
        route: topology.where(placement, context.name)
        for context in topology.contexts.values()
        for route in context.routes
    }
    return [
        re_path(
            rf"^{re.escape(route[1:])}(?:/|\Z)",
            forward,
            {"peer": peers[route].http, "name": certified(peers[route])},
        )
        for route in sorted(peers, key=len, reverse=True)
        if peers[route] != deployment
    ]


@csrf_exempt
def forward(request: HttpRequest, peer: tuple[str, ...], name: str = "") -> HttpResponse:
    """Ask a peer (host:port of each of its processes) what we were asked, and answer what it
    answers. With TLS, its certificate names it so."""
    try:
        return _ask(_peer(peer, name), request, _target(request), _body(request))
    except APIException as error:
        body = problem(error.status_code, str(error.get_codes()), str(error.detail))
        return problem_answer(body)
    except HTTPError as error:
        log.warning("%s did not answer: %s: %s", ",".join(peer), type(error).__name__, error)
        return problem_answer(_unanswered(error), {"Retry-After": RETRY_AFTER})


def _ask(peer: Peer, request: HttpRequest, target: str, body: bytes) -> HttpResponse:
    patience = settings.TOPOLOGY.timeout + MORE_SECONDS
    method = request.method or ""
    with peer.ask(
        method,
        target,
        repeatable=method in SAFE or "Idempotency-Key" in request.headers,
        timeout=patience,
        pool_timeout=POOL_SECONDS,
        body=body or None,
        headers=_headers(request),
        preload_content=False,
        decode_content=False,
    ) as answer:
        try:
            return Forwarded(method, answer, _read(answer, monotonic() + patience))
        finally:
            answer.close()
            answer.release_conn()


@cache
def _peer(addresses: tuple[str, ...], name: str) -> Peer:
    return Peer(addresses, CONNECTIONS, name)


def _read(answer: BaseHTTPResponse, until: float) -> bytes:
    if not 200 <= answer.status <= 599:
        raise BadAnswer(f"status {answer.status}")
    if answer.length_remaining is None and not answer.chunked:
        raise ProtocolError("nothing says where the answer ends: it may have been cut off")
    body = bytearray()
    while part := answer.read1(PART):
        body += part
        if len(body) > LONGEST_ANSWER:
            raise BadAnswer(f"more than {LONGEST_ANSWER} bytes")
        if monotonic() > until:
            raise TimeoutError("the answer takes too long")
    return bytes(body)


def _target(request: HttpRequest) -> str:
    """Path and query. WSGI has decoded the path; encoded again it is what was routed here, and
    cannot mean another one to the upstream. Dot segments could, to whatever stands between."""
    if DOT_SEGMENT.search(request.path_info):
        raise NotFound
    query = quote(request.META.get("QUERY_STRING", "").encode("latin-1"), safe=PRINTABLE)
    # Where one % is stray, urllib3 would encode all of them once more.
    query = STRAY_PERCENT.sub("%25", query)
    return quote(request.path_info) + (f"?{query}" if query else "")


def _body(request: HttpRequest) -> bytes:
    length, coding = _framing(request.META)
    if int(length or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise TooLarge
    source: Any = request.META["wsgi.input"] if coding else request
    try:
        body: bytes = source.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    except (UnreadablePostError, OSError):
        raise ParseError("The body broke off.") from None
    if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise TooLarge
    if length and len(body) != int(length):
        raise ParseError("The body is shorter than its Content-Length.")
    return body


def _framing(meta: dict[str, Any]) -> tuple[str, str]:
    """Content-Length and Transfer-Encoding. RFC 9112 6.3: where they leave a doubt of where the
    body ends, somebody may take the rest of it for another request."""
    length, coding = meta.get("CONTENT_LENGTH", ""), meta.get("HTTP_TRANSFER_ENCODING", "")
    chunked = coding.strip(" \t").lower() == "chunked" and meta.get("wsgi.input_terminated")
    if (coding and (length or not chunked)) or not re.fullmatch(r"[0-9]{0,18}", length):
        raise ParseError("It is not clear how long the body is.")
    return length, coding


def _headers(request: HttpRequest) -> dict[str, str]:
    meta = {name: value for name, value in request.META.items() if name not in MISLEADING}
    given = HttpHeaders(meta)
    passed = _without(HOP_BY_HOP | OURS, given.get("Connection", ""), given.items())
    return {
        **UNSET,
        **{name: value for name, value in passed if not name.lower().startswith(FROM_NO_CLIENT)},
        **_our_headers(request, given),
    }


def _our_headers(request: HttpRequest, given: HttpHeaders) -> dict[str, str]:
    ours = {
        "Host": request.get_host(),  # the gateway's: links in answers lead back to it
        "Via": ", ".join(filter(None, [given.get("Via"), "1.1 gateway"])),
        "X-Forwarded-For": client_address(request),
        "X-Forwarded-Host": request.get_host(),
        "X-Forwarded-Proto": request.scheme or "http",
        "X-Request-ID": correlation.current().id,
        GATEWAY: identity.token(),
    }
    traceparent = tracing.traceparent()
    return ours | ({"traceparent": traceparent} if traceparent else {})


def _without(
    dropped: set[str], connection: str, headers: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """What is left without these, and without those that a Connection header names."""
    dropped = dropped | {name.strip().lower() for name in connection.split(",")}
    return ((name, value) for name, value in headers if name.lower() not in dropped)


def _unanswered(error: HTTPError) -> dict[str, Any]:
    if isinstance(error, BadAnswer):
        return problem(HTTPStatus.BAD_GATEWAY, "bad_gateway", "The answer cannot be passed on.")
    if isinstance(error, TimeoutError) and not isinstance(error, ConnectTimeoutError):
        detail = "There was no answer in time. What was asked may have been done."
        return problem(HTTPStatus.GATEWAY_TIMEOUT, "timeout", detail)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Try again in a moment.")
