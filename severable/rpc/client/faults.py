"""Fault injection: delays and errors of calls, as of a slow or unreachable peer."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import sleep
from typing import Any

import grpc

from severable.rpc.client.intercepted import Continuation
from severable.rpc.outcome import CallError
from severable.topology import Fault


class InjectedFault(grpc.UnaryUnaryClientInterceptor):
    """The last interceptor before the channel, so that every policy treats the fault as the
    peer's. Delays and aborts are drawn independently, as in Istio's fault injection. A delay uses
    the call's time; a call without enough time exceeds its deadline."""

    def __init__(self, fault: Fault, chance: Callable[[], float] = random.random) -> None:
        self._fault, self._chance = fault, chance

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        fault = self._fault
        if self._chance() * 100 < fault.delay_percent:
            sleep(min(fault.delay, details.timeout))
            if fault.delay >= details.timeout:
                return CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            details = details._replace(timeout=details.timeout - fault.delay)
        if self._chance() * 100 < fault.abort_percent:
            return CallError(grpc.StatusCode[fault.abort], "a fault on purpose")
        return continuation(details, request)
