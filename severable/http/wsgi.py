"""Django's WSGI handler, for requests that it would break on or believe too much."""

from __future__ import annotations

import os
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

from severable.api.address import is_proxied


class Request(WSGIRequest):
    """Django decodes the query by the charset that the body claims to have, and breaks on one
    such as "zip" before anything could answer. Here both are UTF-8.

    X-Forwarded-Proto counts only from a proxy that is trusted.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        if "HTTP_X_FORWARDED_PROTO" in environ and not is_proxied(self):
            del environ["HTTP_X_FORWARDED_PROTO"]

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        media_type = meta.get("CONTENT_TYPE", "").partition(";")[0]
        super()._set_content_type_params({"CONTENT_TYPE": media_type})  # type: ignore[misc]


class Handler(WSGIHandler):
    """Django's handler, for such requests."""

    request_class = Request

    def __init__(self) -> None:
        super().__init__()
        # granian hands the process's environment to every request: HTTP_USERS, where users are
        # reached, would be taken for a header of the client's.
        self._inherited = {n: value for n, value in os.environ.items() if n.startswith("HTTP_")}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        for name, value in self._inherited.items():
            if environ.get(name) == value:
                del environ[name]
        return super().__call__(environ, start_response)
