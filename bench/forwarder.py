"""A bare ASGI application that forwards with aiohttp: the floor of bench/gateway.py."""

from __future__ import annotations

import os
from typing import Any

import aiohttp

UPSTREAM = os.environ.get("UPSTREAM", "")
HOP_BY_HOP = {b"connection", b"content-length", b"transfer-encoding"}
_sessions: list[aiohttp.ClientSession] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Forward a request without a body."""
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    headers = [(k.decode(), v.decode()) for k, v in scope["headers"] if k not in HOP_BY_HOP]
    url = f"{UPSTREAM}{scope['path']}"
    async with _session().request(scope["method"], url, headers=headers) as response:
        body = await response.read()
        kept = [(k, v) for k, v in response.raw_headers if k.lower() not in HOP_BY_HOP]
        kept.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": kept})
        await send({"type": "http.response.body", "body": body})


def _session() -> aiohttp.ClientSession:
    if not _sessions:  # it needs the running loop
        connector = aiohttp.TCPConnector(limit=0)
        _sessions.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
    return _sessions[0]


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
