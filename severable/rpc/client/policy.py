"""What holds for every call on every channel, as gRPC client interceptors."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import grpc
from django.db import transaction

from severable.rpc import deadline, identity
from severable.rpc.circuit import Circuit
from severable.rpc.outcome import CallError
from severable.telemetry.tracing import traced
from severable.topology import Policy
from severable.topology.contracts import repeatable

UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class CallInTransaction(RuntimeError):
    """A bug: a call was made inside a database transaction.

    The transaction would hold its locks for as long as somebody else takes, and could not
    undo the call when it rolls back.
    """


def refuse_in_transaction(method: str) -> None:
    """Raise CallInTransaction where this thread has a transaction open."""
    connection: Any = transaction.get_connection()
    if not connection.in_atomic_block:
        return
    if any(not block._from_testcase for block in connection.atomic_blocks):
        raise CallInTransaction(f"{method} was called inside a transaction")


class Deadline(grpc.UnaryUnaryClientInterceptor):
    """Gives every call a timeout: its own or the default, cut to what the caller has left."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        timeout = details.timeout
        if timeout is None:
            timeout = self._policy.timeout_of(details.method)
        left = deadline.remaining()
        if left is not None:
            timeout = min(timeout, left)
        return continuation(details._replace(timeout=timeout), request)


class OutsideTransactions(grpc.UnaryUnaryClientInterceptor):
    """Refuses calls inside a transaction, in production too."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        refuse_in_transaction(details.method)
        return continuation(details, request)


class Retry(grpc.UnaryUnaryClientInterceptor):
    """Asks again where nobody answered the phone, for methods that may be repeated.

    Also where the call came back cancelled: no caller here cancels, so it was a server that had
    just stopped.

    Only the outermost caller does: whoever is serving a call itself leaves it to its own caller,
    or retries of several layers would multiply. A budget keeps all retries to a part of all calls
    (the retry budget of Envoy and Finagle), so that they never become the load that keeps a peer
    down.
    """

    FIRST_WAIT = 0.05
    RESERVE = 3.0  # retries that a quiet caller may make all the same

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tokens = self.RESERVE
        self._lock = threading.Lock()

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        with self._lock:
            self._tokens = min(self._tokens + self._policy.retry_budget, self.RESERVE)
        ends = monotonic() + details.timeout
        outcome = continuation(details, request)
        for attempt in range(self._policy.retries_of(details.method)):
            wait = random.uniform(0.5, 1.5) * self.FIRST_WAIT * 2**attempt  # noqa: S311
            late = monotonic() + wait >= ends
            if late or not self._may_repeat(details.method, outcome):
                break
            sleep(wait)
            outcome = continuation(details._replace(timeout=ends - monotonic()), request)
        return outcome

    def _may_repeat(self, method: str, outcome: Any) -> bool:
        if not outcome.done() or outcome.code() not in UNANSWERED:
            return False
        if deadline.serving() or not repeatable(method):
            return False
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
        return True


class Breaker(grpc.UnaryUnaryClientInterceptor):
    """Stops calling whoever does not answer: after so many failures in a row all calls fail at
    once for a while, then a single one goes to try, and its outcome decides."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = monotonic) -> None:
        self._policy = policy
        circuit = Circuit(policy.breaker_failures, policy.breaker_seconds, clock)
        self._enter, self._leave, self._give_up = circuit.enter, circuit.leave, circuit.give_up

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        era = self._enter()
        if era is None:
            return CallError(grpc.StatusCode.UNAVAILABLE, "the circuit is open")
        try:
            outcome = continuation(details, request)
        except BaseException:
            self._give_up(era)
            raise
        usual = self._policy.timeout_of(details.method)
        patient = details.timeout is None or details.timeout >= 0.9 * usual
        outcome.add_done_callback(lambda done: self._leave(era, _silent(done.code(), patient)))
        return outcome


class Bulkhead(grpc.UnaryUnaryClientInterceptor):
    """Lets so many calls be under way at once: a slow peer must not take all our threads."""

    def __init__(self, policy: Policy) -> None:
        self._free = threading.BoundedSemaphore(policy.concurrency)

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        if not self._free.acquire(blocking=False):
            return CallError(grpc.StatusCode.UNAVAILABLE, "too many calls are under way")
        try:
            outcome = continuation(details, request)
        except BaseException:
            self._free.release()
            raise
        outcome.add_done_callback(lambda _: self._free.release())
        return outcome


def _silent(code: grpc.StatusCode, patient: bool) -> bool:
    # Whoever is given little time and does not make it is not down.
    return code is grpc.StatusCode.UNAVAILABLE or (
        patient and code is grpc.StatusCode.DEADLINE_EXCEEDED
    )


class Identity(grpc.UnaryUnaryClientInterceptor):
    """Shows the callee who calls, for whom, and in which trace."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        metadata = (*(details.metadata or ()), *identity.shown(), *traced())
        return continuation(details._replace(metadata=metadata), request)
