"""Rate limits of routes, exact also for concurrent requests.

A view names its limits in `throttle_classes`. Its responses have the `RateLimit` and
`RateLimit-Policy` headers of draft-ietf-httpapi-ratelimit-headers; beyond the limit they are 429
with `Retry-After`. settings.RATE_LIMITS has the requests of a caller per window.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from severable.api.address import client_address, network_of
from severable.api.limits import RATE_WINDOW, seconds_left, take
from severable.api.owner import context_of


class RateLimit(BaseThrottle):
    """A limit on the requests of a user, or of the network of an anonymous client."""

    name: ClassVar[str]
    methods: ClassVar[tuple[str, ...]]
    _wait = 0

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method not in self.methods:
            return True
        quota: int = settings.RATE_LIMITS[self.name]
        window = int(RATE_WINDOW.total_seconds())
        taken = take(f"{self.name} {context_of(view)} {self._caller(request)}", RATE_WINDOW)
        self._wait = seconds_left(taken)
        view.headers["RateLimit-Policy"] = f'"{self.name}";q={quota};w={window}'
        left = max(0, quota - taken.count)
        view.headers["RateLimit"] = f'"{self.name}";r={left};t={self._wait}'
        return taken.count <= quota

    def wait(self) -> float:
        return self._wait

    def _caller(self, request: Request) -> str:
        if request.user.is_authenticated:
            return f"user-{request.user.pk}"
        return network_of(client_address(request._request))


class ReadLimit(RateLimit):
    """The limit on lists and searches, which cost more than reading one row."""

    name, methods = "reads", ("GET", "HEAD")


class CheckLimit(RateLimit):
    """The limit on reads whose query is a body."""

    name, methods = "reads", ("POST",)
