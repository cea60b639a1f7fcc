"""A peer that answers "unavailable" for a while, three layers down: it gets little more than what
was asked for at the top, however many addresses each layer has, and never all of it at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import grpc
import pytest

from protos import inventory_pb2, payment_pb2, user_pb2
from protos.inventory_pb2_grpc import (
    InventoryServiceServicer,
    InventoryServiceStub,
    add_InventoryServiceServicer_to_server,
)
from protos.payment_pb2_grpc import (
    PaymentServiceServicer,
    PaymentServiceStub,
    add_PaymentServiceServicer_to_server,
)
from protos.user_pb2_grpc import (
    UserServiceServicer,
    UserServiceStub,
    add_UserServiceServicer_to_server,
)
from severable.rpc.client import stubs
from severable.rpc.client.policy import Identity, Retry
from severable.rpc.outcome import CallError
from severable.rpc.server.registry import registry
from tests.rpc.channels import POLICY, channel_to, listening
from tests.threads import together

CALLERS, CALLS = 6, 40  # callers, and how many calls each makes
PAUSE = 0.03  # seconds between them
BIN = 0.1  # seconds
# With its circuit breaker a layer would soon send nothing more; here it is looked at without.
UNBROKEN = replace(POLICY, breaker_failures=10_000)


class Chain:
    """Users ask inventory, which asks payments, which are not available."""

    def __init__(self, kind: str, addresses: list[str]) -> None:
        channel = stubs.policed(channel_to(kind, *addresses), UNBROKEN, Identity())
        self.users = UserServiceStub(channel)
        self.inventory = InventoryServiceStub(self._another(kind, addresses))
        self.payments = PaymentServiceStub(self._another(kind, addresses))
        self.reached: list[tuple[float, str]] = []  # when, and for which call at the top

    def _another(self, kind: str, addresses: list[str]) -> grpc.Channel:
        return stubs.policed(channel_to(kind, *addresses), UNBROKEN, Identity())

    def ask(self, number: int) -> None:
        with suppress(grpc.RpcError):
            self.users.GetUser(user_pb2.GetUserRequest(user_id=number))


class Users(UserServiceServicer):
    def __init__(self, chain: list[Chain]) -> None:
        self._chain = chain

    def GetUser(self, request: Any, context: Any) -> Any:
        skus = [str(request.user_id)]
        self._chain[0].inventory.GetProducts(inventory_pb2.GetProductsRequest(skus=skus))


class Inventory(InventoryServiceServicer):
    def __init__(self, chain: list[Chain]) -> None:
        self._chain = chain

    def GetProducts(self, request: Any, context: Any) -> Any:
        about = payment_pb2.GetPaymentRequest(payment_id=request.skus[0])
        self._chain[0].payments.GetPayment(about)


class Payments(PaymentServiceServicer):
    def __init__(self, chain: list[Chain]) -> None:
        self._chain = chain

    def GetPayment(self, request: Any, context: Any) -> Any:
        self._chain[0].reached.append((time.monotonic(), request.payment_id))
        raise CallError(grpc.StatusCode.UNAVAILABLE, "too much to do")


@pytest.fixture(params=["rest", "grpc"])
def chain(request: pytest.FixtureRequest, own_registry: None) -> Iterator[Chain]:
    made: list[Chain] = []
    add_UserServiceServicer_to_server(Users(made), registry)
    add_InventoryServiceServicer_to_server(Inventory(made), registry)
    add_PaymentServiceServicer_to_server(Payments(made), registry)
    with listening(request.param) as first, listening(request.param) as second:
        made.append(Chain(request.param, [first, second]))
        yield made[0]


def test_three_layers_make_no_storm(chain: Chain) -> None:
    def call(caller: int) -> None:
        for number in range(CALLS):
            chain.ask(caller * CALLS + number)
            time.sleep(PAUSE)

    together(CALLERS, call)

    offered, reached = CALLERS * CALLS, len(chain.reached)
    assert len({about for _, about in chain.reached}) == offered
    assert offered < reached <= (1 + UNBROKEN.retry_budget) * offered + Retry.RESERVE

    seen: set[str] = set()
    again = Counter(
        int(at / BIN) for at, about in chain.reached if about in seen or seen.add(about)
    )
    assert max(again.values()) <= 0.2 * again.total()
    most = f"{max(again.values())} of {again.total()} retries within {BIN} s"
    print(f"{offered} calls, {reached} arrived, {most}")  # noqa: T201
