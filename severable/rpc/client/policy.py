"""The policies of every call on every channel, as gRPC client interceptors."""

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
from severable.rpc.client.intercepted import Continuation, Details
from severable.rpc.outcome import CallError
from severable.telemetry.tracing import traced
from severable.topology import Policy
from severable.topology.contracts import repeatable

RETRYABLE_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class CallInTransaction(RuntimeError):
    """A bug: a call was made inside a database transaction.

    The transaction would hold its locks until the callee responds, and a rollback could not undo
    the call.
    """


def refuse_in_transaction(method: str) -> None:
    """Raise CallInTransaction if this thread has a transaction open."""
    connection: Any = transaction.get_connection()
    if not connection.in_atomic_block:
        return
    if any(not block._from_testcase for block in connection.atomic_blocks):
        raise CallInTransaction(f"{method} was called inside a transaction")


class Deadline(grpc.UnaryUnaryClientInterceptor):
    """Give every call a timeout: its own or the default, at most the caller's remaining time."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        timeout = details.timeout
        if timeout is None:
            timeout = self._policy.timeout_of(details.method)
        left = deadline.remaining()
        if left is not None:
            timeout = min(timeout, left)
        # `_replace` takes several times as long.
        return continuation(Details(details.method, timeout, *details[2:]), request)


class OutsideTransactions(grpc.UnaryUnaryClientInterceptor):
    """Reject calls inside a transaction, also in production."""

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        refuse_in_transaction(details.method)
        return continuation(details, request)


class Retry(grpc.UnaryUnaryClientInterceptor):
    """Retry UNAVAILABLE and CANCELLED for idempotent methods.

    CANCELLED too, because callers here never cancel: it comes from a server that has just stopped.

    Only the outermost caller retries: code that serves a call leaves it to its own caller, or the
    retries of several layers would multiply. A budget limits retries to a share of all calls (the
    retry budget of Envoy and Finagle), so that retries cannot keep a peer overloaded.
    """

    FIRST_WAIT = 0.05
    RESERVE = 3.0  # retries that a caller with few calls may still make

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tokens = self.RESERVE
        self._lock = threading.Lock()

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        with self._lock:
            self._tokens = min(self._tokens + self._policy.retry_budget, self.RESERVE)
        ends = monotonic() + details.timeout
        outcome = continuation(details, request)
        for attempt in range(self._policy.retries_of(details.method)):
            if not outcome.done() or outcome.code() not in RETRYABLE_CODES:
                break
            wait = random.uniform(0.5, 1.5) * self.FIRST_WAIT * 2**attempt  # noqa: S311
            late = monotonic() + wait >= ends
            if late or not self._may_repeat(details.method):
                break
            sleep(wait)
            outcome = continuation(details._replace(timeout=ends - monotonic()), request)
        return outcome

    def _may_repeat(self, method: str) -> bool:
        if deadline.serving() or not repeatable(method):
            return False
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
        return True


class Breaker(grpc.UnaryUnaryClientInterceptor):
    """Stop calling a peer that does not respond: after several failures in a row all calls fail
    immediately for some seconds, then the outcome of a single trial decides."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = monotonic) -> None:
        self._policy = policy
        circuit = Circuit(policy.breaker_failures, policy.breaker_seconds, clock)
        self._enter, self._leave, self._give_up = circuit.enter, circuit.leave, circuit.give_up

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        epoch = self._enter()
        if epoch is None:
            return CallError(grpc.StatusCode.UNAVAILABLE, "the circuit is open")
        try:
            outcome = continuation(details, request)
        except BaseException:
            self._give_up(epoch)
            raise
        usual = self._policy.timeout_of(details.method)
        long_enough = details.timeout is None or details.timeout >= 0.9 * usual
        outcome.add_done_callback(
            lambda done: self._leave(epoch, _is_failure(done.code(), long_enough))
        )
        return outcome


class Bulkhead(grpc.UnaryUnaryClientInterceptor):
    """Limit the calls in flight: a slow peer must not use up all threads of this process."""

    def __init__(self, policy: Policy) -> None:
        self._free = policy.concurrency
        self._lock = threading.Lock()  # threading's semaphores are Python, and several times slower

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        with self._lock:
            if self._free == 0:
                return CallError(grpc.StatusCode.UNAVAILABLE, "too many calls are in flight")
            self._free -= 1
        try:
            outcome = continuation(details, request)
        except BaseException:
            self._release()
            raise
        outcome.add_done_callback(self._release)
        return outcome

    def _release(self, done: object = None) -> None:
        with self._lock:
            self._free += 1


def _is_failure(code: grpc.StatusCode, long_enough: bool) -> bool:
    # A timeout counts only if the call had at least 90 % of the default timeout.
    return code is grpc.StatusCode.UNAVAILABLE or (
        long_enough and code is grpc.StatusCode.DEADLINE_EXCEEDED
    )


class Identity(grpc.UnaryUnaryClientInterceptor):
    """Send the caller, the actor and the trace of each call in its metadata."""

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        metadata = (*(details.metadata or ()), *identity.auth_metadata(), *traced())
        return continuation(details._replace(metadata=metadata), request)
