"""The Content-Security-Policy of every response, which limits what a browser loads and runs."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Responses that are not HTML load nothing.
DATA = "default-src 'none'; frame-ancestors 'none'"
# Scripts are files of this origin; the libraries' templates have many style attributes.
PAGE = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Alpine.js, which the admin uses, compiles its attributes to functions.
ADMIN = f"{PAGE}; script-src 'self' 'unsafe-eval'"


class ContentSecurityPolicy:
    """Middleware: set the policy of each response, unless another deployment has set it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy(request, response))
        return response


def policy(request: HttpRequest, response: HttpResponse) -> str:
    """Return the policy of a response."""
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return DATA
    return ADMIN if request.path_info.startswith("/admin/") else PAGE
