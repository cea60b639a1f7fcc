"""What holds for every call on every channel, as gRPC client interceptors."""

from __future__ import annotations

import random
import threading
from collections import namedtuple
from collections.abc import Callable
from functools import cache, partial
from time import monotonic, sleep
from typing import Any

import grpc
from django.db import connections
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from shop.rpc import deadline, identity
from shop.rpc.outcome import CallError
from shop.telemetry.tracing import traceparent

_Details = namedtuple(
    "_Details", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")
)


UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class CallInTransaction(RuntimeError):
    """A bug: a call was made inside a database transaction.

    The transaction would hold its locks for as long as somebody else takes, and could not
    undo the call when it rolls back.
    """


def refuse_in_transaction(method: str) -> None:
    """Raise CallInTransaction where this thread has a transaction open (of any database)."""
    for connection in connections.all(initialized_only=True):
        blocks: list[Any] = connection.atomic_blocks
        if any(not block._from_testcase for block in blocks):
            raise CallInTransaction(f"{method} was called inside a transaction")


class Chain(grpc.UnaryUnaryClientInterceptor):
    """Several interceptors as one, the first outermost: each layer of gRPC's own chaining costs
    as much as all of these together."""

    def __init__(self, *interceptors: grpc.UnaryUnaryClientInterceptor) -> None:
        self._interceptors = interceptors

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        for interceptor in reversed(self._interceptors):
            continuation = partial(interceptor.intercept_unary_unary, continuation)
        return continuation(details, request)


class Deadline(grpc.UnaryUnaryClientInterceptor):
    """Gives every call a timeout: its own or the default, cut to what the caller has left."""

    def __init__(self, default: float) -> None:
        self._default = default

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        timeout = self._default if details.timeout is None else details.timeout
        left = deadline.remaining()
        if left is not None:
            timeout = min(timeout, left)
        return continuation(_changed(details, timeout=timeout), request)


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

    def __init__(self, retries: int, budget: float) -> None:
        self._retries, self._share = retries, budget
        self._tokens = self.RESERVE
        self._lock = threading.Lock()

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        with self._lock:
            self._tokens = min(self._tokens + self._share, self.RESERVE)
        ends = None if details.timeout is None else monotonic() + details.timeout
        for attempt in range(self._retries + 1):
            left = None if ends is None else max(0.0, ends - monotonic())
            outcome = continuation(_changed(details, timeout=left), request)
            wait = random.uniform(0.5, 1.5) * self.FIRST_WAIT * 2**attempt  # noqa: S311
            last = attempt == self._retries or (left is not None and left < wait)
            if last or not self._may_repeat(details.method, outcome):
                break
            sleep(wait)
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

    def __init__(
        self,
        failures: int,
        seconds: float,
        patience: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limit, self._seconds, self._clock = failures, seconds, clock
        self._patience = patience
        self._failed, self._opened, self._trying = 0, 0.0, False
        self._era = 0  # counts openings: what began before one says nothing after it
        self._lock = threading.Lock()

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
        patient = details.timeout is None or details.timeout >= 0.9 * self._patience
        outcome.add_done_callback(lambda done: self._leave(era, _silent(done.code(), patient)))
        return outcome

    def _enter(self) -> int | None:
        with self._lock:
            if self._failed >= self._limit:
                if self._trying or self._clock() < self._opened + self._seconds:
                    return None
                self._trying = True
            return self._era

    def _give_up(self, era: int) -> None:
        # It says nothing about the peer, but must not be the trial that never ends.
        with self._lock:
            if era == self._era:
                self._trying = False

    def _leave(self, era: int, failed: bool) -> None:
        with self._lock:
            if era != self._era:
                return
            self._trying = False
            self._failed = self._failed + 1 if failed else 0
            if self._failed >= self._limit:
                self._opened, self._era = self._clock(), self._era + 1


class Bulkhead(grpc.UnaryUnaryClientInterceptor):
    """Lets so many calls be under way at once: a slow peer must not take all our threads."""

    def __init__(self, concurrency: int) -> None:
        self._free = threading.BoundedSemaphore(concurrency)

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


@cache
def repeatable(method: str) -> bool:
    """Whether a method's contract says that it may come more than once."""
    service, _, name = method.lstrip("/").rpartition("/")
    described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    level = described.GetOptions().idempotency_level
    return level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


class Identity(grpc.UnaryUnaryClientInterceptor):
    """Shows the callee who calls, for whom, and in which trace."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        shown = [("authorization", f"Bearer {identity.token()}")]
        if parent := traceparent():
            shown.append(("traceparent", parent))
        metadata = (*(details.metadata or ()), *shown)
        return continuation(_changed(details, metadata=metadata), request)


def _changed(details: Any, **changes: Any) -> Any:
    # gRPC passes an object with at least method and timeout; the rest may be missing.
    known = {field: getattr(details, field, None) for field in _Details._fields}
    return _Details(**{**known, **changes})
