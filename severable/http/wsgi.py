"""Django's WSGI handler, hardened against malformed and forged requests."""

from __future__ import annotations

import os
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

from severable.api.address import GATEWAY, is_proxied


class Request(WSGIRequest):
    """A request whose query and body are UTF-8.

    Django decodes the query with the charset of the Content-Type, and fails on one such as "zip"
    before any error handler runs.

    X-Forwarded-Proto is used only if a trusted proxy sent it.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__(environ)
        if "HTTP_X_FORWARDED_PROTO" in environ and not is_proxied(self.headers.get(GATEWAY, "")):
            del environ["HTTP_X_FORWARDED_PROTO"]

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        media_type = meta.get("CONTENT_TYPE", "").partition(";")[0]
        super()._set_content_type_params({"CONTENT_TYPE": media_type})  # type: ignore[misc]


class Handler(WSGIHandler):
    """Django's handler with this request class, and without the process's own HTTP_ variables."""

    request_class = Request

    def __init__(self) -> None:
        super().__init__()
        # granian adds the process's environment to every request: HTTP_USERS, the address of the
        # users, would look like a header of the client.
        self._inherited = {n: value for n, value in os.environ.items() if n.startswith("HTTP_")}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        for name, value in self._inherited.items():
            if environ.get(name) == value:
                del environ[name]
        return super().__call__(environ, start_response)
