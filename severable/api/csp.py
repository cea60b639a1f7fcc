"""The Content-Security-Policy of every answer: what a browser may load and run for it."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Answers that are no pages load nothing.
DATA = "default-src 'none'; frame-ancestors 'none'"
# Scripts come in files of ours; style attributes are all over the libraries' templates.
PAGE = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Alpine.js, on which the admin is built, makes functions of its attributes.
ADMIN = f"{PAGE}; script-src 'self' 'unsafe-eval'"


class ContentSecurityPolicy:
    """Middleware: give each answer the policy of its area, unless another deployment has."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy(request, response))
        return response


def policy(request: HttpRequest, response: HttpResponse) -> str:
    """Return the policy of an answer."""
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return DATA
    return ADMIN if request.path_info.startswith("/admin/") else PAGE
