"""The same bytes get the same answers from both edges, and are one request to contexts or none."""

from __future__ import annotations

import json
import re

import pytest

from tests.edge.conftest import Edge
from tests.edge.corpus import CASES, HOST, PASSES
from tests.front.asking import exchanged
from tests.gateway.upstream import Upstream

pytestmark = pytest.mark.xdist_group("edge")

NEXT = b"GET /api/orders/next HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
CODES = {
    400: {"parse_error", "bad_request"},
    401: {"not_authenticated"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    413: {"too_large"},
    414: {"uri_too_long"},
    431: {"headers_too_large"},
}


@pytest.mark.parametrize("name", CASES)
def test_a_request_is_passed_on_or_refused(edge: Edge, peer: Upstream, name: str) -> None:
    """An edge and its context must agree on the end of a request. Otherwise a part of one client's
    body would be parsed as another client's request (request smuggling)."""
    case = CASES[name]
    answer = exchanged(edge.address, case.raw + NEXT)
    statuses = [int(found) for found in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.M)]
    expected = case.expected(edge.name)

    assert (statuses or [0])[0] == expected, answer[:1000]
    if expected == 100:
        expected = statuses.pop(0) and statuses[0]
    assert len(statuses) <= 2 and statuses[1:] in ([], [PASSES])
    own = [asked for asked in peer.asked if "/next " not in asked.line]
    assert len(own) == (expected == PASSES), [asked.line for asked in own]
    assert not any("smuggled" in asked.line for asked in peer.asked)
    assert all(not asked.all("Transfer-Encoding") for asked in peer.asked)
    if expected not in (0, PASSES):
        assert_refusal(edge, answer, expected)


def assert_refusal(edge: Edge, answer: bytes, status: int) -> None:
    """All is a problem, but for what the embedded server's parser or CSRF's protection refuses."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    body = rest[: int(length[1])] if length else b""
    if edge.name == "nginx" or b"application/problem+json" in head:
        assert json.loads(body)["code"] in CODES[status]
        assert b"application/problem+json" in head
