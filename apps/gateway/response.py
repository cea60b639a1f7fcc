"""Responses of contexts, parsed by llhttp, the parser of Node.js."""

from __future__ import annotations

import re
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

LONGEST_HEAD = 262_144  # bytes
NO_BODY = (204, 304)
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Broken(Exception):
    """The response ended before its head, or is not HTTP."""


class Incomplete(Broken):
    """The response ended, or broke the protocol, after its head."""


class NotForwardable(Exception):
    """The response is too large, or its status is not a final one of HTTP."""


@dataclass
class Response:
    """A whole response. The names of its header fields are in lowercase."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    closes: bool  # its sender announced that it closes the connection
    reusable: bool  # another request may follow on the connection


class Reader:
    """Reads one response. Methods that begin with `on_` are called by the parser."""

    def __init__(self, is_head: bool, longest: int) -> None:
        """`is_head`: the request was HEAD, so there is no body. `longest` is in bytes."""
        self._is_head, self._longest = is_head, longest
        self._parser = HttpResponseParser(self)
        # For folded header fields. It allows control characters, too, which `on_header` does not.
        self._parser.set_dangerous_leniencies(lenient_headers=True)
        self._received = self._status = self._size = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._delimited = self._closes = False
        self._error: Exception | None = None
        self._response: Response | None = None

    def feed(self, data: bytes) -> Response | None:
        """Parse the next bytes, and return the response if it is whole.

        Raises Broken or NotForwardable if it cannot become a whole response.
        """
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._error = self._error or self.broken(str(error))
        if not self._status and self._received > LONGEST_HEAD:
            self._error = Broken("the head is too long")
        if self._error:
            raise self._error
        return self._response

    def broken(self, why: str) -> Broken:
        """Return the error for a response that ends here."""
        return Incomplete(why) if self._status else Broken(why)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer
        if CONTROL.search(value):
            self._error = Broken("a header field has control characters")
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._delimited = True
        elif name == b"connection":
            self._closes = value.lower() == b"close"
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers.clear()
            return
        self._status = status
        if not 200 <= status <= 599:
            self._error = NotForwardable(f"its status is {status}")
        elif self._is_head:
            self._complete(reusable=not self._closes and self._parser.get_http_version() == "1.1")
        elif not (self._delimited or status in NO_BODY):
            self._error = Incomplete("nothing says where the response ends")

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._longest:
            self._error = NotForwardable(f"it is longer than {self._longest} bytes")
        self._surplus()

    def on_message_begin(self) -> None:
        self._surplus()

    def on_message_complete(self) -> None:
        if self._status:
            self._complete(reusable=self._parser.should_keep_alive())

    def _complete(self, *, reusable: bool) -> None:
        if self._response is None:
            self._response = Response(
                self._status, self._headers, b"".join(self._parts), self._closes, reusable
            )

    def _surplus(self) -> None:
        if self._response:
            self._response.reusable = False
