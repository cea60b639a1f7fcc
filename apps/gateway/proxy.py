"""The gateway's proxy, which forwards requests to contexts that run in other deployments.

Bodies are buffered in both directions: no upstream gets a part of a request, and if an upstream
breaks off, the client gets a 503 instead of a part of a response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache, partial
from urllib.parse import quote

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.urls import URLPattern
from django.utils.encoding import repercent_broken_unicode
from rest_framework.exceptions import NotFound, ParseError

from apps.gateway.connections import Outgoing
from apps.gateway.response import Response
from apps.gateway.upstream import Upstream
from severable.api import GATEWAY, forwarded_address, is_proxied
from severable.http import Answer, Front, Head, Receive, Scope, Send
from severable.rpc import identity, tls_server_name
from severable.telemetry import PROBES, correlation, tracing
from severable.topology import Deployment, Topology, admin_paths

SAFE = ("GET", "HEAD", "OPTIONS")

# RFC 9110 7.6.1, and the trailers, of which there are none once a body has been read whole.
HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"),
        *(b"upgrade", b"proxy-authenticate", b"proxy-authorization", b"trailer"),
    }
)
NOT_ANSWERED = HOP_BY_HOP | {b"x-request-id"}
NOT_SENT = HOP_BY_HOP | {
    *(b"host", b"content-length", b"expect", b"forwarded", b"via", b"x-real-ip", b"x-request-id"),
    b"traceparent",
}
FROM_NO_CLIENT = (b"x-forwarded-", b"x-user", b"x-actor", b"x-causation", b"x-internal")

PROOF = GATEWAY.lower().encode()
PLAIN_PATH = re.compile(rb"[A-Za-z0-9_~/-]+")
DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

Field = tuple[bytes, bytes]
Fields = list[Field]


class Gateway:
    """An ASGI application that forwards requests for contexts of other deployments.

    Django responds to all others, including those that the gateway composes.
    """

    def __init__(
        self, front: Front, upstreams: dict[str, Upstream], composed: list[URLPattern]
    ) -> None:
        """`upstreams` by route, such as "/api/orders"."""
        self._front, self._upstreams = front, upstreams
        longest_first = sorted(upstreams, key=len, reverse=True)
        self._routes = re.compile(rf"({'|'.join(map(re.escape, longest_first)) or '(?!)'})(?:/|\Z)")
        self._composed = [url.pattern.regex for url in composed]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            head = Head(scope)
            upstream = self.upstream(head.path)
            if upstream:
                respond = partial(forward, upstream, head)
                await self._front.exchanges.run(head, receive, send, respond)
                return
        await self._front(scope, receive, send)
        if scope["type"] == "lifespan":
            self.close()

    def upstream(self, path: str) -> Upstream | None:
        """Return the upstream of a path, or None if this deployment responds."""
        found = None if path in PROBES else self._routes.match(path)
        if found is None or any(regex.match(path[1:]) for regex in self._composed):
            return None
        return self._upstreams[found[1]]

    def close(self) -> None:
        """Close all connections."""
        for upstream in self._upstreams.values():
            upstream.close()


def upstreams(topology: Topology, placement: str, deployment: Deployment) -> dict[str, Upstream]:
    """Return the upstream of each path that another deployment serves: the routes of its contexts,
    and their admin."""
    admin = admin_paths(topology, placement)
    found: dict[str, Upstream] = {}
    for context in topology.contexts.values():
        peer = topology.where(placement, context.name)
        if peer != deployment:
            upstream = Upstream(peer.http, topology.policies[context.name], tls_server_name(peer))
            pages = (path for path, name in admin.items() if name == context.name)
            found |= dict.fromkeys((*context.routes, *pages), upstream)
    return found


async def forward(upstream: Upstream, head: Head, body: bytes) -> Answer:
    """Send a request to an upstream, and return its response as one of the gateway.

    Raises APIException.
    """
    why = correlation.Correlation(id=head.request_id)
    with tracing.forwarding(head.traceparent) as head.traceparent, correlation.correlated(why):
        try:
            request = _outgoing(head, body)
        except SuspiciousOperation:
            raise ParseError("The request cannot be understood.", "bad_request") from None
        repeatable = head.method in SAFE or b"idempotency-key" in head.fields
        response = await upstream.send(request, repeatable=repeatable)
        return Answer(response.status, _answered(response, head), response.body)


def _answered(response: Response, head: Head) -> Fields:
    """Return the header fields of an answer. HEAD and 304 keep the upstream's Content-Length."""
    keeps_length = head.method == "HEAD" or response.status == 304
    dropped = NOT_ANSWERED if keeps_length else NOT_ANSWERED | {b"content-length"}
    named = b",".join(value for name, value in response.headers if name == b"connection")
    fields = _without(dropped, named, response.headers)
    fields.append((b"x-request-id", head.request_id.encode()))
    if not keeps_length:
        fields.append((b"content-length", b"%d" % len(response.body)))
    return fields


def _outgoing(head: Head, body: bytes) -> Outgoing:
    """Return the request for the upstream. Raises APIException or SuspiciousOperation."""
    passed = _without(NOT_SENT, head.fields.get(b"connection", b""), head.fields.items())
    lines = [f"{head.method} {_target(head)} HTTP/1.1", *_our_lines(head)]
    if body or b"content-length" in head.fields:
        lines.append(f"content-length: {len(body)}")
    written = [line.encode("latin-1") for line in lines]
    written += [b"%s: %s" % field for field in passed if not field[0].startswith(FROM_NO_CLIENT)]
    text = b"\r\n".join([*written, b"", b""])
    if text.count(b"\n") + text.count(b"\r") != 2 * len(written) + 2:
        raise ParseError("A header field has a line break.", "bad_request")
    return Outgoing(text, body, head.method == "HEAD")


def _target(head: Head) -> str:
    """Return the path and the query.

    The path is decoded and encoded again: it is the one by which the upstream was chosen, and means
    nothing else to the upstream. Dot segments could mean something else to a proxy in between.
    """
    raw: bytes = head.scope["raw_path"]
    if PLAIN_PATH.fullmatch(raw):
        target = raw.decode()
    else:
        path = repercent_broken_unicode(head.path.encode("latin-1")).decode()
        if DOT_SEGMENT.search(path):
            raise NotFound("There is nothing at this address.")
        target = quote(path)
    query: bytes = head.scope["query_string"]
    return f"{target}?{quote(query, safe=PRINTABLE)}" if query else target


def _our_lines(head: Head) -> list[str]:
    """Return the header fields that the gateway sets.

    `Host` is its own, so that links in responses lead back to it.
    """
    scope, proof = head.scope, head.field(PROOF)
    host, via = _host(head.fields.get(b"host"), *scope["server"]), head.field(b"via")
    client = forwarded_address(head.client, head.field(b"x-forwarded-for"), proof)
    scheme, proto = scope["scheme"], head.field(b"x-forwarded-proto")
    if proto and is_proxied(proof):
        scheme = "https" if proto.split(",")[0].strip() == "https" else "http"
    return [
        f"host: {host}",
        f"via: {via}, 1.1 gateway" if via else "via: 1.1 gateway",
        f"x-forwarded-for: {client}",
        f"x-forwarded-host: {host}",
        f"x-forwarded-proto: {scheme}",
        f"x-request-id: {head.request_id}",
        f"{GATEWAY}: {identity.token()}",
        f"traceparent: {head.traceparent}",
    ]


@lru_cache(maxsize=1024)
def _host(given: bytes | None, server: str, port: str | int) -> str:
    """Return the host that a request names. Raises DisallowedHost."""
    request = HttpRequest()
    request.META = {"SERVER_NAME": server, "SERVER_PORT": str(port)}
    if given is not None:
        request.META["HTTP_HOST"] = given.decode("latin-1")
    return request.get_host()


def _without(dropped: frozenset[bytes], connection: bytes, fields: Iterable[Field]) -> Fields:
    """Return the header fields without these, and without those that a Connection field names."""
    if connection:
        dropped = dropped | {name.strip().lower() for name in connection.split(b",")}
    return [field for field in fields if field[0] not in dropped]
