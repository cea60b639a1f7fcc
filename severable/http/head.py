"""The head of a request, as ASGI gives it and as WSGI needs it."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from severable.telemetry.middleware import request_id

Scope = dict[str, Any]


class Head:
    """The method, the address and the header fields of a request.

    `fields` maps lowercase names to values; repeated fields are joined. Fields with an underscore
    are dropped: in WSGI `X_Forwarded_For` has the same name as `X-Forwarded-For`, which it could
    forge. `traceparent` is the W3C trace context that responses without a span belong to.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.fields: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if b"_" not in name:
                self._add(name, value)
        self.request_id = request_id(self.field(b"x-request-id"))
        self.traceparent = self.field(b"traceparent")

    def _add(self, name: bytes, value: bytes) -> None:
        if name in self.fields:
            value = self.fields[name] + (b"; " if name == b"cookie" else b",") + value
        self.fields[name] = value

    def field(self, name: bytes) -> str:
        """Return the value of a field, or "" if the request has none of this name."""
        return self.fields.get(name, b"").decode("latin-1")

    @property
    def client(self) -> str:
        """The address of the other end of the connection."""
        return str((self.scope["client"] or ("", 0))[0])

    @property
    def path(self) -> str:
        """The decoded path, whose characters stand for bytes, as WSGI's PATH_INFO."""
        return unquote_to_bytes(self.scope["raw_path"]).decode("latin-1")

    def environ(self) -> dict[str, Any]:
        """Return WSGI's environ, without the body."""
        scope = self.scope
        host, port = scope["server"]
        environ = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.path,
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "REMOTE_ADDR": self.client,
            "wsgi.version": (1, 0),
            "wsgi.input": BytesIO(),
            "wsgi.url_scheme": scope["scheme"],
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for raw, value in self.fields.items():
            name = raw.decode("latin-1").upper().replace("-", "_")
            key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
            environ[key] = value.decode("latin-1")
        return environ | {"HTTP_X_REQUEST_ID": self.request_id}
