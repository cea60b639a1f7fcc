"""Retries, circuit breaker and bulkhead: what they let through, and what they do not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from protos.user_pb2 import GetUserRequest
from protos.user_pb2_grpc import UserServiceStub
from severable import topology
from severable.rpc import deadline
from severable.rpc.client import faults, policy
from severable.rpc.client.faults import InjectedFault
from severable.rpc.client.intercepted import Details
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import Breaker, Bulkhead, Retry
from severable.rpc.client.stubs import policed
from severable.rpc.outcome import CallError, CompletedCall
from severable.topology import Fault, Policy

DOWN = CallError(grpc.StatusCode.UNAVAILABLE, "down")
LATE = CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
FINE = CompletedCall("fine")


class Peer:
    """Answers as told, the last for ever, and counts."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.calls = list(outcomes), 0
        self.timeouts: list[Any] = []

    def __call__(self, details: Any, request: Any) -> Any:
        self.calls += 1
        self.timeouts.append(details.timeout)
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


def with_policy(**values: Any) -> Policy:
    return replace(Policy(5.0, 2, 0.2, 32, 5, 2.0), **values)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(policy, "sleep", waited.append)
    return waited


def ask(interceptor: Any, peer: Callable[..., Any], timeout: float = 5.0) -> Any:
    call = Details("/user.UserService/GetUser", timeout)
    return interceptor.intercept_unary_unary(peer, call, None)


def test_whoever_does_not_answer_is_asked_again_after_ever_longer_waits(
    no_waiting: list[float],
) -> None:
    peer = Peer(DOWN, DOWN, FINE)
    assert ask(Retry(with_policy(retries=2)), peer).result() == "fine"
    assert peer.calls == 3
    assert 0.025 <= no_waiting[0] <= 0.075 and 0.05 <= no_waiting[1] <= 0.15


def test_waits_differ_so_that_callers_do_not_come_in_step(no_waiting: list[float]) -> None:
    for _ in range(20):
        ask(Retry(with_policy(retries=1)), Peer(DOWN))
    assert len(set(no_waiting)) == 20


def test_what_a_stopping_server_cancelled_is_asked_again() -> None:
    peer = Peer(CallError(grpc.StatusCode.CANCELLED, "CANCELLED"), FINE)
    assert ask(Retry(with_policy(retries=2)), peer).result() == "fine"


@pytest.mark.parametrize("outcome", [LATE, CallError(grpc.StatusCode.INTERNAL, "a bug")])
def test_what_may_have_been_answered_is_not_asked_again(outcome: Any) -> None:
    peer = Peer(outcome)
    ask(Retry(with_policy(retries=2)), peer)
    assert peer.calls == 1


def test_what_may_not_be_repeated_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "repeatable", lambda method: False)
    peer = Peer(DOWN)
    ask(Retry(with_policy(retries=2)), peer)
    assert peer.calls == 1


def test_retries_of_three_layers_do_not_multiply() -> None:
    """Whoever serves a call leaves the retrying to its caller."""
    peer = Peer(DOWN)
    with deadline.serving_a_call(5):
        ask(Retry(with_policy(retries=2)), peer)
    assert peer.calls == 1


def test_a_peer_that_is_down_gets_at_most_a_fifth_more() -> None:
    peer, retry = Peer(DOWN), Retry(with_policy(retries=2))
    for _ in range(1000):
        ask(retry, peer)
    assert peer.calls <= 1.2 * 1000 + Retry.RESERVE


def test_retries_stay_within_the_deadline() -> None:
    peer = Peer(DOWN)
    ask(Retry(with_policy(retries=2)), peer, timeout=0.01)
    assert peer.calls == 1
    peer = Peer(DOWN, FINE)
    ask(Retry(with_policy(retries=2)), peer, timeout=1.0)
    assert peer.timeouts[1] <= peer.timeouts[0] <= 1.0


def breaker(clock: Clock) -> Breaker:
    return Breaker(with_policy(breaker_failures=3, breaker_seconds=10.0), clock)


def test_after_so_many_failures_in_a_row_nobody_is_called() -> None:
    peer, circuit = Peer(DOWN, DOWN, FINE, DOWN, DOWN, LATE, FINE), breaker(Clock())
    outcomes = [ask(circuit, peer) for _ in range(9)]
    assert peer.calls == 6
    assert [o.code().name for o in outcomes[6:]] == ["UNAVAILABLE"] * 3


@pytest.mark.parametrize(("outcome", "calls_after"), [(FINE, 3), (DOWN, 1)])
def test_one_goes_to_try_and_its_outcome_decides(outcome: Any, calls_after: int) -> None:
    clock = Clock()
    circuit = breaker(clock)
    for _ in range(3):
        ask(circuit, Peer(DOWN))
    clock.now += 10
    peer = Peer(outcome)
    for _ in range(3):
        ask(circuit, peer)
    assert peer.calls == calls_after


def test_a_trial_that_breaks_makes_room_for_the_next() -> None:
    """Else the circuit would stay open for ever."""
    clock = Clock()
    circuit = breaker(clock)
    for _ in range(3):
        ask(circuit, Peer(DOWN))
    clock.now += 10

    def breaks(details: Any, request: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(circuit, breaks)
    assert ask(circuit, Peer(FINE)).result() == "fine"


def test_of_64_at_the_moment_of_trying_one_goes() -> None:
    clock = Clock()
    circuit, calls = breaker(clock), []
    for _ in range(3):
        ask(circuit, Peer(DOWN))
    clock.now += 10
    together, goes_on = threading.Barrier(64), threading.Event()

    def slow(details: Any, request: Any) -> Any:
        calls.append(1)
        goes_on.wait(5)
        return FINE

    def attempt() -> None:
        together.wait()
        if ask(circuit, slow).code() is not grpc.StatusCode.OK:
            refused.append(1)
            if len(refused) == 63:
                goes_on.set()

    refused: list[int] = []
    threads = [threading.Thread(target=attempt) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(calls), len(refused)) == (1, 63)


def test_what_began_before_the_opening_does_not_close_it() -> None:
    circuit = breaker(Clock())
    epoch = circuit._enter()
    assert epoch is not None
    for _ in range(3):
        ask(circuit, Peer(DOWN))
    circuit._leave(epoch, failed=False)
    peer = Peer(FINE)
    ask(circuit, peer)
    assert peer.calls == 0


def test_impatient_callers_cannot_open_a_circuit() -> None:
    """`Prefer: wait=1` would let a customer cut payments off for everybody."""
    circuit, peer = breaker(Clock()), Peer(LATE)
    for _ in range(9):
        ask(circuit, peer, timeout=1.0)
    assert peer.calls == 9


def test_a_slow_peer_takes_so_many_threads_and_no_more() -> None:
    bulkhead, inside, goes_on = (
        Bulkhead(with_policy(concurrency=2)),
        threading.Semaphore(0),
        threading.Event(),
    )

    def slow(details: Any, request: Any) -> Any:
        inside.release()
        goes_on.wait(5)
        return FINE

    threads = [threading.Thread(target=ask, args=(bulkhead, slow)) for _ in range(2)]
    for thread in threads:
        thread.start()
        inside.acquire()
    assert ask(bulkhead, Peer(FINE)).code() is grpc.StatusCode.UNAVAILABLE
    goes_on.set()
    for thread in threads:
        thread.join()
    assert ask(bulkhead, Peer(FINE)).result() == "fine"


def test_a_call_that_breaks_gives_its_place_back() -> None:
    bulkhead = Bulkhead(with_policy(concurrency=1))

    def breaks(details: Any, request: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(bulkhead, breaks)
    assert ask(bulkhead, Peer(FINE)).result() == "fine"


def test_a_fault_on_purpose_is_the_peers_to_all_policies() -> None:
    """One that was injected outside the breaker would show nothing of what it does."""
    rest = topology.load(topology.path()).policies["users"]
    fault = InjectedFault(Fault(abort="UNAVAILABLE", abort_percent=100))
    users = UserServiceStub(policed(LocalChannel(), replace(rest, breaker_failures=3), fault))
    said = []
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as caught:
            users.GetUser(GetUserRequest(user_id=1))
        said.append(caught.value.details())
    assert said[0] == "a fault on purpose"
    assert said[-1] == "the circuit is open"


def test_so_many_percent_of_calls_fail_and_the_rest_go_on() -> None:
    draws = iter([0.5, 0.049, 0.5, 0.051])
    fault = InjectedFault(Fault(abort="INTERNAL", abort_percent=5), chance=lambda: next(draws))
    peer = Peer(FINE)
    assert ask(fault, peer).code() is grpc.StatusCode.INTERNAL
    assert ask(fault, peer).result() == "fine"
    assert peer.calls == 1


def test_a_delay_uses_up_the_calls_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a call would take longer than its deadline allows."""
    slept: list[float] = []
    monkeypatch.setattr(faults, "sleep", slept.append)
    fault, peer = InjectedFault(Fault(delay=2, delay_percent=100)), Peer(FINE)
    assert ask(fault, peer, timeout=5.0).result() == "fine"
    assert ask(fault, peer, timeout=1.0).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (slept, peer.timeouts) == ([2, 1.0], [3.0])
