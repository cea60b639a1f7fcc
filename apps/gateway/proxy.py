"""The gateway's proxy: what is asked of a context that runs elsewhere is asked there.

Bodies are whole in both directions: half a request is never sent on, and of an upstream that
breaks off comes a 503, not half an answer.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import ClientResponse
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.urls import Resolver404, URLPattern, URLResolver
from django.urls.resolvers import RegexPattern
from rest_framework.exceptions import APIException, NotFound, ParseError

from apps.gateway.upstream import Upstream
from severable.api import GATEWAY, client_address
from severable.http import Answer, Request, problem_of
from severable.rpc import identity, tls_server_name
from severable.telemetry import correlation, tracing
from severable.topology import Deployment, Topology

SAFE = ("GET", "HEAD", "OPTIONS")

# RFC 9110 7.6.1, and the trailers, of which there are none once a body has been read whole.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}
HOP_BY_HOP |= {"proxy-authenticate", "proxy-authorization", "trailer"}
OURS = {"host", "content-length", "expect", "forwarded", "via", "x-real-ip", "x-request-id"}
OURS |= {"traceparent"}
FROM_NO_CLIENT = ("x-forwarded-", "x-user", "x-actor", "x-causation", "x-internal")

DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class Gateway:
    """Forwards what belongs to contexts of other deployments. Django answers the rest, and what
    the gateway composes."""

    def __init__(self, upstreams: dict[str, Upstream], composed: list[URLPattern]) -> None:
        """`upstreams` by route, such as "/api/orders"."""
        self._upstreams = upstreams
        longest_first = sorted(upstreams, key=len, reverse=True)
        self._routes = re.compile(rf"({'|'.join(map(re.escape, longest_first)) or '(?!)'})(?:/|\Z)")
        self._composed = URLResolver(RegexPattern(r"^/"), composed)

    def upstream(self, path: str) -> Upstream | None:
        """Return the upstream of a path, or None if this process answers it."""
        found = self._routes.match(path)
        if found is None or self._composes(path):
            return None
        return self._upstreams[found[1]]

    def route(self, environ: dict[str, Any]) -> Callable[[bytes], Awaitable[Answer]] | None:
        """Forward this request, given its body; None where it is for this process."""
        upstream = self.upstream(environ["PATH_INFO"])
        return partial(forward, upstream, environ) if upstream else None

    async def close(self) -> None:
        """Release all connections."""
        for upstream in self._upstreams.values():
            await upstream.close()

    def _composes(self, path: str) -> bool:
        try:
            self._composed.resolve(path)
        except Resolver404:
            return False
        return True


def upstreams(topology: Topology, placement: str, deployment: Deployment) -> dict[str, Upstream]:
    """By its routes, every context that another deployment runs."""
    found: dict[str, Upstream] = {}
    for context in topology.contexts.values():
        peer = topology.where(placement, context.name)
        if context.routes and peer != deployment:
            upstream = Upstream(peer.http, topology.policies[context.name], tls_server_name(peer))
            found |= dict.fromkeys(context.routes, upstream)
    return found


async def forward(upstream: Upstream, environ: dict[str, Any], body: bytes) -> Answer:
    """Ask an upstream what we were asked, and answer what it answers."""
    request = Request(environ)
    why = correlation.Correlation(id=environ["HTTP_X_REQUEST_ID"])
    with tracing.span("forward", environ.get("HTTP_TRACEPARENT", "")), correlation.correlated(why):
        try:
            return await _forwarded(upstream, request, body)
        except APIException as error:
            return problem_of(error, environ)
        except SuspiciousOperation:
            return problem_of(
                ParseError("The request cannot be understood.", "bad_request"), environ
            )


async def _forwarded(upstream: Upstream, request: HttpRequest, body: bytes) -> Answer:
    method = request.method or ""
    head, answer = await upstream.ask(
        method,
        _target(request),
        repeatable=method in SAFE or "Idempotency-Key" in request.headers,
        data=body or None,
        headers=_headers(request),
    )
    return Answer(head.status, list(_answered(head, answer)), answer)


def _answered(head: ClientResponse, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """An answer's headers. HEAD and 304 keep the upstream's Content-Length."""
    keeps_length = head.method == "HEAD" or head.status == 304
    dropped = HOP_BY_HOP | {"x-request-id"} | (set() if keeps_length else {"content-length"})
    given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.raw_headers]
    named = ",".join(value for name, value in given if name.lower() == "connection")
    for name, value in _without(dropped, named, given):
        yield name.encode("latin-1"), " ".join(value.split("\r\n")).encode("latin-1")
    yield b"X-Request-ID", correlation.current().id.encode()
    if not keeps_length:
        yield b"Content-Length", str(len(body)).encode()


def _target(request: HttpRequest) -> str:
    """Path and query. WSGI has decoded the path; encoded again it is what was routed here, and
    cannot mean another one to the upstream. Dot segments could, to whatever stands between."""
    if DOT_SEGMENT.search(request.path_info):
        raise NotFound("There is nothing at this address.")
    query = quote(request.META["QUERY_STRING"].encode("latin-1"), safe=PRINTABLE)
    return quote(request.path_info) + (f"?{query}" if query else "")


def _headers(request: HttpRequest) -> dict[str, str]:
    given = request.headers
    passed = _without(HOP_BY_HOP | OURS, given.get("Connection", ""), given.items())
    return {
        **{name: value for name, value in passed if not name.lower().startswith(FROM_NO_CLIENT)},
        **_our_headers(request),
    }


def _our_headers(request: HttpRequest) -> dict[str, str]:
    given = request.headers
    ours = {
        "Host": request.get_host(),  # the gateway's: links in answers lead back to it
        "Via": ", ".join(filter(None, [given.get("Via"), "1.1 gateway"])),
        "X-Forwarded-For": client_address(request),
        "X-Forwarded-Host": request.get_host(),
        "X-Forwarded-Proto": request.scheme or "http",
        "X-Request-ID": correlation.current().id,
        GATEWAY: identity.token(),
        "traceparent": tracing.traceparent(),
    }
    return {name: value for name, value in ours.items() if value}


def _without(
    dropped: set[str], connection: str, headers: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Return the headers without these, and without those that a Connection header names."""
    dropped = dropped | {name.strip().lower() for name in connection.split(",")}
    return ((name, value) for name, value in headers if name.lower() not in dropped)
