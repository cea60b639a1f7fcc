"""Sends symbolic requests to one shop, and names what is its own in the answers."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.differential.traffic import Request

UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
HEX = re.compile(r"\b[0-9a-f]{32}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")
HOST = re.compile(r"http://127\.0\.0\.1:\d+")
SIGNED = re.compile(r"token=[\w:.%-]+")
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
CURSOR = re.compile(r"cursor=[\w%=]+")
LEFT = re.compile(r";r=\d+;t=\d+$")  # of a rate limit: its windows begin at other requests
SHORT_ID = re.compile(r"\([0-9a-f]{8}\)")
PLACEHOLDER = re.compile(r"{(\w+:\w+)}")
UNKNOWN = "00000000-0000-7000-8000-000000000000"
# Differ in every answer, and say nothing of the shop.
NOISE = {"date", "server", "content-length", "x-request-id", "etag"}
HIDDEN = {"trace_id", "n", "kid"}


@dataclass(frozen=True)
class Answer:
    """An answer without what differs from one run to the next."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """One shop's side of the comparison: its ids, its sessions."""

    def __init__(self, url: str) -> None:
        self._host = url.removeprefix("http://")
        self._given: dict[str, str] = {}  # what a symbolic name stands for here
        self._names: dict[str, str] = {}  # of the ids that were captured

    def send(self, request: Request) -> Answer:
        """Send a request and return the answer. Raises OSError or HTTPException if none comes."""
        connection = http.client.HTTPConnection(self._host, timeout=60)
        try:
            headers = self._headers(request)
            body: Any = (
                self._filled(request.body.decode("utf-8", "surrogateescape")).encode(
                    "utf-8", "surrogateescape"
                )
                if request.body is not None
                else None
            )
            if request.chunked:
                body = iter([body[:7], body[7:]] if len(body) > 7 else [body])
            connection.request(
                request.method,
                self._filled(request.path),
                body,
                headers,
                encode_chunked=request.chunked,
            )
            response = connection.getresponse()
            content = response.read()
            raw = response.getheaders()
        finally:
            connection.close()
        parsed = _parsed(content)
        self._capture(request, parsed)
        named = self.named(parsed)
        if response.status == 202:  # a worker may have come further by the time it is written
            named = {key: value for key, value in named.items() if key in ("id", "user_id")}
        if request.unordered and "results" in named:
            named["results"].sort(key=str)
        return Answer(response.status, dict(self._compared(raw)), named)

    def named(self, value: Any) -> Any:
        """A value with names in the place of ids, and without times and tokens."""
        if isinstance(value, dict):
            return {k: "…" if k in HIDDEN else self.named(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.named(one) for one in value]
        return self._text(value) if isinstance(value, str) else value

    def name(self, identifier: str) -> str:
        """The symbolic name of an id: the first one under which it was captured."""
        return self._names.get(identifier, "an id")

    def _text(self, text: str) -> str:
        text = TIME.sub("a time", text.replace(self._host, "shop"))
        text = LEFT.sub(";r=…;t=…", text)
        text = CURSOR.sub("cursor=…", JWT.sub("a token", text))
        return UUID.sub(lambda found: self.name(found[0]), SHORT_ID.sub("(…)", text))

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if request.session:
            access = self._given.get(f"access:{request.session}", "none")
            headers["Authorization"] = f"Bearer {access}"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.chunked:
            headers["Transfer-Encoding"] = "chunked"
        return headers | request.headers

    def _filled(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda found: self._given.get(found[1], UNKNOWN), text)

    def _capture(self, request: Request, answer: Any) -> None:
        if not isinstance(answer, dict):
            return
        for name, field in request.captures.items():
            found = answer.get(field) or answer.get("order_id" if field == "id" else "")
            if found:
                self._given[name] = str(found)
                self._names.setdefault(str(found), name)
        if request.signs_in and "access" in answer:
            for kind in ("access", "refresh"):
                self._given[f"{kind}:{request.signs_in}"] = answer[kind]

    def _compared(self, headers: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        cookies = sorted(v.partition("=")[0] for k, v in headers if k.lower() == "set-cookie")
        if cookies:
            yield "set-cookie", ", ".join(cookies)
        for name, value in headers:
            if name.lower() not in NOISE | {"set-cookie"}:
                yield name.lower(), self._text(value)
        yield "has", ", ".join(sorted({k.lower() for k, _ in headers} & NOISE - {"server"}))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
