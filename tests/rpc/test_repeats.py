"""Every method that its contract lets come twice is called twice, over every channel: the second
call answers like the first and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import grpc
import pytest
from django.apps import apps
from google.protobuf.message import Message

from apps.inventory.models import Product
from apps.users.models import User
from protos import inventory_pb2, order_pb2, payment_pb2, user_pb2
from protos.inventory_pb2_grpc import InventoryServiceStub
from protos.order_pb2_grpc import OrderServiceStub
from protos.payment_pb2_grpc import PaymentServiceStub
from protos.user_pb2_grpc import UserServiceStub
from severable.protos import events_pb2
from severable.protos.events_pb2_grpc import EventFeedStub
from severable.rpc.client import stubs
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import Identity, repeatable
from severable.rpc.server.registry import registry
from tests.conftest import ClientFor, MakeUser
from tests.rpc.test_channels import POLICY, serving

pytestmark = pytest.mark.django_db(transaction=True)

Call = tuple[Callable[..., Any], str, Message]


@pytest.fixture(params=["local", "rest", "grpc"])
def channel(request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    with ExitStack() as stack:
        if request.param == "local":
            yield stubs.policed(LocalChannel(), POLICY)
        else:
            channel = stack.enter_context(serving(request.param))
            yield stubs.policed(channel, POLICY, Identity())
            channel.close()


def calls(user: User, mug: Product, order_id: str, payment_id: str) -> Iterator[Call]:
    """A call of every method there is, in an order in which each has something to do."""
    new, other = str(uuid4()), str(uuid4())
    create = user_pb2.CreateUserRequest(name="Dora", email="dora@example.com")
    update = user_pb2.UpdateUserRequest(user_id=user.id, name="Al")
    debit = user_pb2.DebitCreditRequest(payment_id=new, user_id=user.id, amount=7)
    reserve = inventory_pb2.ReserveRequest(
        order_id=new, lines=[inventory_pb2.Line(sku=mug.sku, quantity=2)]
    )
    pay = payment_pb2.PayRequest(
        order_id=new,
        user_id=user.id,
        amount=1800,
        currency="EUR",
        method=payment_pb2.Method(method="card", token="tok_visa"),
    )
    yield UserServiceStub, "CreateUser", create
    yield UserServiceStub, "GetUser", user_pb2.GetUserRequest(user_id=user.id)
    yield UserServiceStub, "UpdateUser", update
    yield UserServiceStub, "GetPreferences", user_pb2.GetPreferencesRequest(user_id=user.id)
    confirm = user_pb2.CreateEmailConfirmationRequest(user_id=user.id)
    yield UserServiceStub, "CreateEmailConfirmation", confirm
    yield UserServiceStub, "DebitCredit", debit
    yield (
        UserServiceStub,
        "ReturnCredit",
        user_pb2.ReturnCreditRequest(payment_id=new, user_id=user.id),
    )
    yield InventoryServiceStub, "GetProducts", inventory_pb2.GetProductsRequest(skus=[mug.sku])
    yield InventoryServiceStub, "Reserve", reserve
    yield InventoryServiceStub, "Release", inventory_pb2.ReleaseRequest(order_id=new)
    yield InventoryServiceStub, "Release", inventory_pb2.ReleaseRequest(order_id=other)
    yield PaymentServiceStub, "Pay", pay
    yield PaymentServiceStub, "Close", payment_pb2.CloseRequest(order_id=new)
    yield PaymentServiceStub, "Refund", payment_pb2.RefundRequest(order_id=new)
    yield PaymentServiceStub, "GetPayment", payment_pb2.GetPaymentRequest(payment_id=payment_id)
    yield OrderServiceStub, "GetOrder", order_pb2.GetOrderRequest(order_id=order_id)
    yield EventFeedStub, "Read", events_pb2.ReadRequest(source="orders")


def everything() -> dict[str, list[Any]]:
    """Every row of every table."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
    }


def test_what_comes_twice_is_done_once(
    channel: grpc.Channel, make_user: MakeUser, mug: Product, client_for: ClientFor
) -> None:
    user = make_user("alice", credit=100)
    order = client_for(user).post(
        "/api/orders",
        {
            "items": [{"sku": mug.sku, "quantity": 1}],
            "payment": {"method": "card", "token": "tok_visa"},
        },
    )
    assert order.status_code == 201, order.data
    called = set()
    for stub, name, request in calls(user, mug, order.data["id"], order.data["payment_id"]):
        method = getattr(stub(channel), name)
        first, before = method(request), everything()
        assert method(request) == first, name
        assert everything() == before, name
        called.add(f"{stub.__name__.removesuffix('Stub')}/{name}")

    # Whoever adds a method that may be repeated adds a call of it here.
    there_are = {m.rpartition(".")[2] for m in registry.methods if repeatable(m)}
    assert called == there_are
