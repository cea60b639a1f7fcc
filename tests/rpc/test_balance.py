"""Several addresses over HTTP: who is asked, who is asked instead, and who never is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError

from severable.rpc.client import addresses, balance
from severable.rpc.client.balance import Peer
from tests.gateway.upstream import OK, Upstream, upstream

BUSY = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"
LEAVING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def three() -> Iterator[list[Upstream]]:
    with ExitStack() as running:
        yield [running.enter_context(upstream()) for _ in range(3)]


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def peer(*addresses: str | Upstream) -> Peer:
    return Peer(tuple(a if isinstance(a, str) else a.address for a in addresses), connections=8)


def ask(peer: Peer, repeatable: bool = False) -> int:
    with peer.request("POST", "/", repeatable=repeatable, timeout=5.0) as answer:
        return answer.status


def asked(upstreams: list[Upstream]) -> list[int]:
    return [len(one.asked) for one in upstreams]


def test_all_get_their_part(three: list[Upstream]) -> None:
    balanced = peer(*three)
    for _ in range(90):
        ask(balanced)
    assert min(asked(three)) >= 9  # by chance less often than once in a million


def test_whoever_is_busy_is_spared(three: list[Upstream]) -> None:
    """Also one that hangs: in turn, it would get a third of all requests."""
    balanced = peer(*three)
    with ExitStack() as in_flight:
        for _ in range(2):
            in_flight.enter_context(balanced.request("GET", "/", repeatable=True, timeout=5.0))
        before = asked(three)
        for _ in range(20):
            ask(balanced)
        more = [now - then for now, then in zip(asked(three), before, strict=True)]
        assert sorted(more) == [0, 0, 20]


def test_failures_do_not_count_as_under_way(three: list[Upstream], nowhere: str) -> None:
    """Else an address that had failures would never be asked again."""
    balanced = peer(three[0], nowhere)
    three[0].answer, three[0].breaks_off = b"", True
    for _ in range(5):
        with pytest.raises(ProtocolError):
            ask(balanced)
    three[0].answer, three[0].breaks_off = OK, False
    with (
        pytest.raises(ZeroDivisionError),
        balanced.request("GET", "/", repeatable=True, timeout=5.0),
    ):
        raise ZeroDivisionError
    assert [address.in_flight for address in balanced._addresses.all] == [0, 0]


def test_where_nobody_listens_another_is_asked_whatever_it_is(
    three: list[Upstream], nowhere: str
) -> None:
    """Nothing was sent, so nothing can happen twice."""
    balanced = peer(nowhere, three[0], "no.such.invalid:1")
    assert [ask(balanced) for _ in range(20)] == [200] * 20
    assert asked(three) == [20, 0, 0]


def test_where_nobody_listens_anywhere_each_is_tried_once(nowhere: str) -> None:
    balanced = peer(nowhere, "no.such.invalid:1")
    with pytest.raises(NewConnectionError):
        ask(balanced, repeatable=True)


def test_whoever_takes_no_connection_costs_no_more_time_than_there_is(
    three: list[Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"127.0.0.1:{full.getsockname()[1]}"
        balanced = peer(address, three[0])
        assert [ask(balanced) for _ in range(5)] == [200] * 5
        with (
            pytest.raises(ConnectTimeoutError),
            peer(address).request("GET", "/", repeatable=True, timeout=0.01),
        ):
            pass


def test_what_may_come_twice_is_sent_again_once_where_a_connection_breaks(
    three: list[Upstream],
) -> None:
    """And not to each: what kills the first would kill all."""
    for one in three:
        one.answer, one.breaks_off = b"", True
    with pytest.raises(ProtocolError):
        ask(peer(*three), repeatable=True)
    assert sorted(asked(three)) == [0, 1, 1]


def test_what_may_not_come_twice_is_not_sent_again(three: list[Upstream]) -> None:
    for one in three:
        one.answer, one.breaks_off = b"", True
    with pytest.raises(ProtocolError):
        ask(peer(*three))
    assert sum(asked(three)) == 1


def test_the_only_address_gets_a_second_chance(three: list[Upstream]) -> None:
    """It may have closed a kept connection just as it was used."""
    three[0].answer, three[0].breaks_off = b"", True
    with pytest.raises(ProtocolError):
        ask(peer(three[0]), repeatable=True)
    assert asked(three) == [2, 0, 0]


def test_an_answer_is_an_answer(three: list[Upstream]) -> None:
    """A 503 tried elsewhere would be one more request for a peer that has too many."""
    for one in three:
        one.answer = BUSY
    assert ask(peer(*three), repeatable=True) == 503
    assert sum(asked(three)) == 1


@pytest.mark.parametrize("told", [LEAVING, b""])
def test_whoever_leaves_is_asked_last_for_a_while(
    three: list[Upstream], told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "EJECTION_SECONDS", 60.0)
    three[0].answer, three[0].breaks_off = told, True
    balanced = peer(*three[:2])
    assert [ask(balanced, repeatable=True) for _ in range(40)] == [200] * 40
    assert asked(three)[0] == 1  # not at all by chance once in 2**40

    monkeypatch.setattr(addresses, "monotonic", lambda: float("inf"))  # the while is over
    three[0].answer, three[0].breaks_off = OK, False
    for _ in range(40):
        with balanced.request("GET", "/", repeatable=True, timeout=None) as answer:
            assert answer.status == 200
    assert asked(three)[0] > 1


def test_where_all_leave_they_are_asked_all_the_same(three: list[Upstream]) -> None:
    for one in three:
        one.answer, one.breaks_off = LEAVING, True
    balanced = peer(*three)
    assert [ask(balanced) for _ in range(9)] == [200] * 9
