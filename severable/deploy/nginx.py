"""nginx as the edge of a placement: routes, limits and headers.

It behaves as the embedded gateway does; tests/edge/ lists the differences and their reasons.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.template import Context, Engine

from severable.api.errors import PROBLEM, RETRY_AFTER, problem
from severable.deploy.routes import Route, routes
from severable.deploy.workloads import HTTP_PORT
from severable.http.answer import SECURITY
from severable.http.app import READ_SECONDS
from severable.telemetry.middleware import ACCEPTABLE
from severable.topology import Topology, TopologyError
from severable.topology.model import Edge

RESOLVER = "127.0.0.11"  # Docker's
PORT = 8080  # the edge's port, which needs no privilege

# What contexts read of a client's request. nginx cannot drop headers by the start of their names
# (X-User-…, X-Internal-…, X-Forwarded-…), so it passes these and no others.
PASSED = (
    *("Accept", "Accept-Language", "Authorization", "Cache-Control", "Content-Encoding"),
    *("Content-Language", "Content-Type", "Cookie", "Idempotency-Key", "Prefer"),
    *("If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since"),
    *("Range", "Origin", "Referer", "User-Agent", "X-CSRFToken", "X-Requested-With"),
    *("Access-Control-Request-Headers", "Access-Control-Request-Method"),
    *("Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "tracestate", "baggage"),
)
# RFC 9110 7.6.1; nginx itself drops the others.
HIDDEN = (
    *("Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection"),
    *("Keep-Alive", "TE", "Trailer", "Upgrade"),
)


@dataclass(frozen=True)
class Problem:
    """An error that nginx answers itself."""

    found: tuple[int, ...]  # the statuses that nginx has for it; 494 is a head that is too large
    status: int
    title: str  # not Python's: it has other titles in other versions
    code: str
    detail: str
    wait: str = ""

    @property
    def body(self) -> str:
        """Return it as problem+json in which nginx fills in the trace."""
        filled_in = {"title": self.title, "trace_id": "$trace_id"}
        return json.dumps(problem(self.status, self.code, self.detail) | filled_in)

    @property
    def statuses(self) -> str:
        """Return statuses in nginx's syntax."""
        return " ".join(map(str, self.found))


MAY_BE_DONE = "There was no answer in time. What was asked may have been done."
# The same statuses and codes as the shop's own. To nginx a deployment that is down is 502, and a
# full disk 500: a client should try again.
PROBLEMS = (
    Problem((400, 501, 505), 400, "Bad Request", "parse_error", "This is no valid request."),
    Problem((404,), 404, "Not Found", "not_found", "There is nothing at this address."),
    Problem((405,), 405, "Method Not Allowed", "method_not_allowed", "The method is not allowed."),
    Problem((413,), 413, "Content Too Large", "too_large", "The body is too large."),
    Problem((414,), 414, "URI Too Long", "uri_too_long", "The address is too long."),
    Problem((494,), 431, "Headers Too Large", "headers_too_large", "The headers are too large."),
    Problem(
        *((500, 502, 503), 503, "Service Unavailable", "unavailable"),
        "Try again in a moment.",
        RETRY_AFTER,
    ),
    Problem((504,), 504, "Gateway Timeout", "timeout", MAY_BE_DONE, RETRY_AFTER),
)


def render(topology: Topology) -> dict[str, str]:
    """Return the configuration of each placement for compose, by its path."""
    return {
        f"deploy/nginx/{placement}.conf": configuration(
            topology, placement, hosts(topology, placement, f"{placement}-{{}}-web")
        )
        for placement in topology.placements
    }


def hosts(topology: Topology, placement: str, pattern: str) -> dict[str, str]:
    """Return host:port by deployment; the hosts are such as "{}.shop.svc.cluster.local"."""
    names = (deployment.name for deployment in topology.deployments(placement))
    return {name: f"{pattern.format(name)}:{HTTP_PORT}" for name in names}


def configuration(
    topology: Topology,
    placement: str,
    hosts: Mapping[str, str],
    *,
    resolver: str = RESOLVER,
    listen: str = str(PORT),
    folder: str = "/tmp",  # noqa: S108  # a file system of the container's own
) -> str:
    """Return a whole nginx.conf for a placement.

    `hosts` are host:port by deployment, `resolver` the name server for them, `listen` the
    port or address:port for clients, `folder` the one that nginx may write to.
    """
    edge = topology.edge
    if edge is None:
        raise TopologyError("topology.toml: [edge] is missing")
    found = {
        "placement": placement,
        "routes": [(_pattern(r), hosts[r.deployment.name]) for r in routes(topology, placement)],
        "resolver": resolver,
        "listen": listen,
        "folder": folder,
        **_limits(edge),
        **_headers(),
    }
    template = (Path(__file__).parent / "nginx.conf").read_text()
    return Engine(autoescape=False).from_string(template).render(Context(found, autoescape=False))


def _pattern(route: Route) -> str:
    """Return a path as a regular expression. It is `\\z`, for `$` lets a newline follow."""
    if route.path == "/":
        return "^/"
    path = re.escape(route.path).replace(r"\*", "[^/]+").replace(r"\-", "-")
    return rf"^{path}\z" if route.exact else rf"^{path}(/|\z)"


def _limits(edge: Edge) -> dict[str, object]:
    again = f"error timeout;\n            proxy_next_upstream_tries {1 + edge.retries}"
    return {
        "body_limit": edge.body_limit,
        "body_timeout": f"{edge.body_timeout * 1000:.0f}ms",
        "timeout": f"{edge.timeout * 1000:.0f}ms",
        "send_timeout": f"{READ_SECONDS:.0f}s",
        # nginx does not retry POST and PATCH by default.
        "next_upstream": again if edge.retries else "off",
        "proxies": edge.proxies,
    }


def _headers() -> dict[str, object]:
    return {
        "request_id": ACCEPTABLE.pattern,
        "security": list(SECURITY.items()),
        "problem_type": PROBLEM,
        "problems": PROBLEMS,
        "passed": [(name, f"http_{name.lower().replace('-', '_')}") for name in PASSED],
        "hidden": HIDDEN,
    }
