"""Responses as a socket received them."""

from __future__ import annotations

from tests.front.asking import Answered


def taken_apart(answer: bytes) -> Answered:
    """Return an answer's parts; its status is 0 if the connection was closed without one."""
    if not answer:
        return Answered(0, [], b"")
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (one.partition(":") for one in lines)]
    return Answered(int(line.split()[1]), headers, body)
