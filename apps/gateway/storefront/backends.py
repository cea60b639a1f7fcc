"""The public API as a process of the gateway reaches it.

A context that runs in this process is reached through Django's handler, in the same thread: over a
socket, the process would wait for a thread of its own. Others are reached over HTTP, with the same
timeouts and the same circuit breaker as requests that the gateway forwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from urllib3.exceptions import HTTPError

from severable.api import GATEWAY, forwarded_address
from severable.rpc import Circuit, Peer, identity, tls_server_name
from severable.telemetry import correlation, tracing
from severable.topology import Deployment, Policy

CONNECTIONS = 8  # to one address: as many as a web process has threads


class Unreachable(Exception):
    """There was no response. The request may have been executed."""


@dataclass(frozen=True)
class Call:
    """A request to the public API. `headers` have the names that HTTP uses."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        return self.method == "GET" or "Idempotency-Key" in self.headers


@dataclass(frozen=True)
class Answer:
    """A response of the public API."""

    status: int
    headers: dict[str, str]
    body: bytes


def send(call: Call, page: HttpRequest, timeout: float) -> Answer:
    """Send a request for a page's client and return the response.

    `timeout` is in seconds, for contexts that run elsewhere. Raises Unreachable.
    """
    remote = _remote(call.path)
    return remote.send(call, page, timeout) if remote else _local().send(call, page)


class Local(BaseHandler):
    """Django's handler, for requests that this process makes to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()

    def send(self, call: Call, page: HttpRequest) -> Answer:
        response = cast(HttpResponse, self.get_response(WSGIRequest(_environ(call, page))))
        # It is not closed: that would close the database connection, which the page still has.
        return Answer(response.status_code, dict(response.items()), response.content)


class Remote:
    """The web processes of a deployment."""

    def __init__(self, deployment: Deployment, policy: Policy) -> None:
        self._peer = Peer(deployment.http, CONNECTIONS, tls_server_name(deployment))
        self._circuit = Circuit(policy.breaker_failures, policy.breaker_seconds)

    def send(self, call: Call, page: HttpRequest, timeout: float) -> Answer:
        """Return the response to a request. Raises Unreachable."""
        epoch = self._circuit.enter()
        if epoch is None:
            raise Unreachable("the circuit is open")
        failed = True
        try:
            answer = self._exchange(call, page, timeout)
            failed = False
        except HTTPError as error:
            raise Unreachable(str(error)) from None
        finally:
            self._circuit.leave(epoch, failed)
        return answer

    def _exchange(self, call: Call, page: HttpRequest, timeout: float) -> Answer:
        with (
            tracing.forwarding(tracing.traceparent()) as parent,
            self._peer.request(
                call.method,
                f"{call.path}?{call.query}" if call.query else call.path,
                repeatable=call.repeatable,
                timeout=timeout,
                pool_timeout=timeout,
                body=call.body or None,
                headers={**call.headers, **_of_gateway(page), "traceparent": parent},
            ) as response,
        ):
            return Answer(response.status, dict(response.headers), response.data)


@cache
def _local() -> Local:
    return Local()


@cache
def _remotes() -> list[tuple[str, Remote]]:
    """Return the deployments that run elsewhere by their routes, the longest first."""
    topology, found = settings.TOPOLOGY, dict[str, Remote]()
    for context in topology.contexts.values():
        deployment = topology.where(settings.PLACEMENT, context.name)
        if context.routes and deployment != settings.DEPLOYMENT:
            remote = Remote(deployment, topology.policies[context.name])
            found |= dict.fromkeys(context.routes, remote)
    return sorted(found.items(), key=lambda entry: -len(entry[0]))


def _remote(path: str) -> Remote | None:
    found = (remote for route, remote in _remotes() if f"{path}/".startswith(f"{route}/"))
    return next(found, None)


def _client(page: HttpRequest) -> str:
    """Return the address of a page's client."""
    forwarded = page.headers.get("X-Forwarded-For", "")
    return forwarded_address(page.META["REMOTE_ADDR"], forwarded, page.headers.get(GATEWAY, ""))


def _of_gateway(page: HttpRequest) -> dict[str, str]:
    """Return the header fields that the gateway sets, for requests that it makes itself."""
    return {
        "Host": page.get_host(),
        "X-Forwarded-For": _client(page),
        "X-Forwarded-Host": page.get_host(),
        "X-Forwarded-Proto": page.scheme or "http",
        "X-Request-ID": correlation.current().id,
        GATEWAY: identity.token(),
    }


def _environ(call: Call, page: HttpRequest) -> dict[str, Any]:
    headers = {
        **call.headers,
        "Host": page.get_host(),
        "X-Request-ID": correlation.current().id,
        "Traceparent": tracing.traceparent(),
    }
    given = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return given | {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(call.path).decode("latin-1"),
        "QUERY_STRING": call.query,
        "CONTENT_TYPE": call.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(call.body)),
        "REMOTE_ADDR": _client(page),
        "SERVER_NAME": page.META["SERVER_NAME"],
        "SERVER_PORT": page.META["SERVER_PORT"],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": page.scheme,
        "wsgi.input": BytesIO(call.body),
    }
