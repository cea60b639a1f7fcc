"""Orders over the public API: placed, seen, cancelled, shipped, listed and told."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.orders.models import IllegalTransition, Order, Parcel
from apps.payments.models import Payment, TestCharge
from apps.users.models import User
from protos import order_pb2 as pb
from protos.order_pb2_grpc import OrderServiceStub
from protos.payment_pb2_grpc import PaymentServiceStub
from severable.events.models import Event
from severable.rpc.client.stubs import stub
from severable.saga.models import Saga
from tests.conftest import ClientFor, MakeUser
from tests.machine import settle
from tests.orders.test_input import assert_problem

pytestmark = pytest.mark.django_db

STATUSES = list(Order.Status)


def place(client: APIClient, prefer: str = "", token: str = "tok_visa", **more: Any) -> Any:
    body = {
        "items": [{"sku": "MUG", "quantity": 2}],
        "payment": {"method": "card", "token": token},
    }
    path = "/api/admin/orders" if more else "/api/orders"
    return client.post(path, body | more, headers={"Prefer": prefer} if prefer else {})


@pytest.fixture
def client(alice: User, mug: Product, client_for: ClientFor) -> Iterator[APIClient]:
    yield client_for(alice)


def in_state(status: str, user: User) -> Order:
    order = Order.objects.create(user_id=user.id, status=status, total=1, payment_id=uuid4())
    if status == "paid":
        paid = {"amount": 1, "method": "card", "status": "paid"}
        Payment.objects.create(id=order.payment_id, order_id=order.id, user_id=user.id, **paid)
    return order


def test_a_placed_order_has_the_shape_that_clients_rely_on(alice: User, client: APIClient) -> None:
    answer = place(client)
    order = answer.json()

    assert answer["Location"] == f"/api/orders/{order['id']}"
    assert client.get(answer["Location"]).json() == order
    assert {name: order[name] for name in ("status", "user_id", "currency", "total", "reason")} == {
        "status": "paid",
        "user_id": alice.id,
        "currency": "EUR",
        "total": 1800,
        "reason": "",
    }
    assert order["lines"] == [{"sku": "MUG", "quantity": 2, "unit_price": 900}]
    assert set(order) - {"payment_id", "created_at", "updated_at", "id"} == {
        *("status", "user_id", "currency", "total", "reason", "lines")
    }


def test_staff_order_for_a_customer_who_then_owns_it(
    alice: User, staff: User, client: APIClient, client_for: ClientFor
) -> None:
    answer = place(client_for(staff), user_id=alice.id)

    assert (answer.status_code, answer.json()["user_id"]) == (201, alice.id)
    assert client.get(answer["Location"]).status_code == 200
    assert place(client, user_id=alice.id).status_code == 403


def test_a_disabled_customer_cannot_order(alice: User, client: APIClient) -> None:
    User.objects.update(is_active=False)

    assert assert_problem(place(client), 422)["code"] == "unknown_user"


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("respond-async", 202),
        ("Respond-Async", 202),
        ("return=minimal, respond-async", 202),
        ("respond-async; foo=bar", 202),
        ("respond-async, wait=1", 202),
        ("wait=1,respond-async", 202),
        ("wait=1", 201),
        ("wait=99999", 201),
        ("wait=9" + "9" * 400, 201),
        ("wait=abc", 201),
        ("wait=", 201),
        ("wait=-1", 201),
        ("wait=1.5", 201),
        ("no-respond-async", 201),
        ('foo="respond-async"', 201),
        (",;=,,", 201),
        ("\xff", 201),
    ],
)
def test_preferences_are_understood_or_ignored(client: APIClient, prefer: str, status: int) -> None:
    assert place(client, prefer).status_code == status


def test_who_waits_no_longer_gets_the_order_as_far_as_it_is(client: APIClient) -> None:
    """A slow card takes 3 seconds; a client that waits for less must not wait for it."""
    answer = place(client, "wait=0", "tok_slow")

    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert not TestCharge.objects.exists()


@pytest.mark.parametrize("to", STATUSES)
@pytest.mark.parametrize("status", STATUSES)
def test_an_order_becomes_only_what_is_legal(alice: User, status: str, to: str) -> None:
    legal = {
        ("pending", "paid"),
        ("pending", "rejected"),
        ("pending", "cancelled"),
        ("paid", "cancelled"),
        ("paid", "shipped"),
    }
    order = in_state(status, alice)
    if (status, to) in legal:
        order.become(to)
        assert order.status == to
    else:
        with pytest.raises(IllegalTransition):
            order.become(to)


@pytest.mark.parametrize(
    ("verb", "status", "answered"),
    [
        ("cancel", "pending", 200),
        ("cancel", "paid", 200),
        ("cancel", "cancelled", 200),
        ("cancel", "rejected", 409),
        ("cancel", "shipped", 409),
        ("ship", "paid", 200),
        ("ship", "shipped", 200),
        ("ship", "pending", 409),
        ("ship", "rejected", 409),
        ("ship", "cancelled", 409),
    ],
)
def test_an_order_is_cancelled_or_shipped_only_where_it_can_be(
    staff: User, client_for: ClientFor, verb: str, status: str, answered: int
) -> None:
    order = in_state(status, staff)
    answer = client_for(staff).post(f"/api/orders/{order.id}/{verb}")

    assert answer.status_code == answered
    if answered == 409:
        assert assert_problem(answer, 409)["code"] == "illegal_transition"
        assert not Event.objects.filter(stream=order.stream).exists()


def test_a_pending_order_that_is_cancelled_takes_nothing(mug: Product, client: APIClient) -> None:
    order = place(client, "respond-async").json()
    client.post(f"/api/orders/{order['id']}/cancel")
    settle()

    mug.refresh_from_db()
    assert Order.objects.get().status == "cancelled"
    assert (mug.available, mug.held) == (10, 0)
    assert not TestCharge.objects.filter(state="charged").exists()


def test_a_shipped_order_knows_when_its_parcel_left(
    alice: User, staff: User, client: APIClient, client_for: ClientFor
) -> None:
    order = place(client).json()
    settle()
    answer = client_for(staff).post(f"/api/orders/{order['id']}/ship")
    parcel = Parcel.objects.get()

    assert answer.json()["status"] == "shipped"
    assert (parcel.name, parcel.address) == ("Alice", alice.address)
    assert parcel.shipped_at


def test_an_order_shipped_before_its_parcel_was_packed_still_gets_one(
    staff: User, client: APIClient, client_for: ClientFor
) -> None:
    order = place(client).json()
    client_for(staff).post(f"/api/orders/{order['id']}/ship")
    settle()

    assert Parcel.objects.get().shipped_at


@pytest.mark.parametrize(
    ("method", "rest"), [("get", ""), ("get", "/timeline"), ("post", "/cancel")]
)
def test_anothers_order_does_not_exist(
    client: APIClient, bob: User, client_for: ClientFor, method: str, rest: str
) -> None:
    order = place(client).json()
    answers = [
        getattr(client_for(bob), method)(f"/api/orders/{order_id}{rest}")
        for order_id in (order["id"], uuid4())
    ]

    assert [assert_problem(answer, 404)["code"] for answer in answers] == ["order_not_found"] * 2
    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize("order_id", ["1", "9" * 400, "%00", "x" * 36, "é"])
def test_what_is_no_id_is_not_found(client: APIClient, order_id: str) -> None:
    assert_problem(client.get(f"/api/orders/{order_id}"), 404)


def test_only_those_who_may_ship(client: APIClient) -> None:
    order = place(client).json()

    assert_problem(client.post(f"/api/orders/{order['id']}/ship"), 403)
    assert Order.objects.get().status == "paid"


def test_the_list_is_ones_own_newest_first_and_complete(
    alice: User, bob: User, client: APIClient
) -> None:
    """Also where many were placed at the same moment."""
    now = timezone.now()
    mine = [
        Order.objects.create(user_id=alice.id, status="pending", created_at=now) for _ in range(7)
    ]
    in_state("paid", bob)
    seen: list[str] = []
    url: str | None = "/api/orders?page_size=3"
    while url:
        page = client.get(url).json()
        seen += [order["id"] for order in page["results"]]
        url = page["next"]

    assert seen == [str(order.id) for order in reversed(mine)]


def test_the_list_is_filtered_by_status(alice: User, client: APIClient) -> None:
    for status in STATUSES:
        in_state(status, alice)

    def listed(status: str) -> Any:
        return client.get("/api/orders", {"status": status})

    assert [o["status"] for o in listed("paid").json()["results"]] == ["paid"]
    problem = assert_problem(listed("unknown"), 400)
    assert [error["field"] for error in problem["errors"]] == ["status"]


@pytest.mark.parametrize(
    "cursor",
    ["p=abc", "p=%00", "p=0001-01-01+00:00:00%2b23:59", "p=99999-01-01", "o=-1", "o=x", "\xff"],
)
def test_a_cursor_that_was_made_up_is_refused(alice: User, client: APIClient, cursor: str) -> None:
    in_state("paid", alice)
    encoded = b64encode(cursor.encode("latin-1")).decode()

    for given in (encoded, cursor):
        assert_problem(client.get("/api/orders", {"cursor": given}), 404)


def test_a_cursor_without_a_zone_is_taken_for_a_moment(alice: User, client: APIClient) -> None:
    in_state("paid", alice)
    cursor = b64encode(b"p=2999-01-01").decode()

    assert len(client.get("/api/orders", {"cursor": cursor}).json()["results"]) == 1


def queries_of(client: APIClient, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_a_list_takes_as_many_queries_whatever_its_length(client: APIClient) -> None:
    place(client)
    one = queries_of(client, "/api/orders")
    for _ in range(4):
        place(client)

    assert queries_of(client, "/api/orders") == one <= 4


def test_an_order_and_its_timeline_take_few_queries(client: APIClient) -> None:
    path = place(client)["Location"]

    assert queries_of(client, path) <= 3
    assert queries_of(client, f"{path}/timeline") <= 6


def moments(client: APIClient, answer: Any) -> list[tuple[str, str]]:
    told = client.get(f"{answer['Location']}/timeline").json()
    return [(moment["what"], moment["state"]) for moment in told]


def test_the_timeline_of_a_pending_order_shows_what_is_to_come(client: APIClient) -> None:
    assert moments(client, place(client, "respond-async")) == [
        ("OrderCreated", "happened"),
        ("place_order: customer", "to do"),
        ("place_order: stock", "to do"),
        ("place_order: payment", "to do"),
    ]


def test_the_timeline_of_a_paid_order_shows_what_was_done(client: APIClient) -> None:
    told = moments(client, place(client))

    assert told[0] == ("OrderCreated", "happened")
    assert ("OrderPaid", "happened") in told
    assert told.count(("place_order: payment", "done")) == 1
    assert "to do" not in [state for _, state in told]


def test_the_timeline_of_a_rejected_order_shows_what_was_undone(client: APIClient) -> None:
    problem = place(client, token="tok_declined").json()
    told = moments(client, {"Location": f"/api/orders/{problem['order_id']}"})

    assert ("place_order: payment", "failed") in told
    assert ("place_order: stock", "compensated") in told
    assert told[-1] == ("OrderRejected", "happened")


INTERNALS = "_InactiveRpcError ipv4:127.0.0.1:50051"


@pytest.fixture
def without_payments(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(kind: Any) -> Any:
        if kind is PaymentServiceStub:
            raise ConnectionError(INTERNALS)
        return stub(kind)

    monkeypatch.setattr("apps.orders.saga.stub", down)


def details(client: APIClient, path: str) -> dict[str, str]:
    told = client.get(f"{path}/timeline").json()
    return {moment["state"]: moment["detail"] for moment in told if moment["detail"]}


def test_what_failed_inside_is_told_to_staff_only(
    client: APIClient, staff: User, client_for: ClientFor, without_payments: None
) -> None:
    """A customer's timeline showed addresses and exceptions."""
    path = place(client)["Location"]

    assert details(client, path) == {"unknown": "There was no answer. The step is repeated."}
    assert INTERNALS in details(client_for(staff), path)["unknown"]


def test_a_refusal_is_told_to_the_customer(client: APIClient) -> None:
    problem = place(client, token="tok_declined").json()

    assert details(client, f"/api/orders/{problem['order_id']}") == {"failed": problem["detail"]}


def test_an_order_that_was_given_up_does_not_tell_what_failed_inside(
    client: APIClient, without_payments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last exception became the reason that the customer read, in the answer and by mail."""
    path = place(client)["Location"]
    Saga.objects.update(created_at=timezone.now() - timedelta(hours=2), due_at=timezone.now())
    settle()
    monkeypatch.setattr("apps.orders.saga.stub", stub)  # for the compensation
    Saga.objects.update(due_at=timezone.now())
    settle()
    order = Order.objects.get()

    assert (order.status, order.reason) == ("rejected", "unresolved")
    assert INTERNALS not in order.detail
    assert INTERNALS not in str(Event.objects.values_list("data", flat=True))
    assert INTERNALS not in str(details(client, path))


def test_the_token_of_a_card_is_forgotten_once_it_was_used(
    client: APIClient, make_user: MakeUser
) -> None:
    place(client)
    place(client, token="tok_declined")

    assert "tok_" not in str(list(Saga.objects.values_list("data", flat=True)))
    assert "tok_" not in str(list(Event.objects.values_list("data", flat=True)))


def test_an_order_is_found_over_the_contract(alice: User, client: APIClient) -> None:
    order = place(client).json()
    found = stub(OrderServiceStub).GetOrder(pb.GetOrderRequest(order_id=order["id"]))

    assert (found.status, found.total, found.payment_id) == ("paid", 1800, order["payment_id"])
    assert found.lines[0] == pb.Line(sku="MUG", quantity=2, unit_price=900)


@pytest.mark.parametrize(
    ("order_id", "code"),
    [(str(UUID(int=1)), grpc.StatusCode.NOT_FOUND), ("x", grpc.StatusCode.INVALID_ARGUMENT)],
)
def test_what_is_no_order_is_refused_over_the_contract(
    order_id: str, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub(OrderServiceStub).GetOrder(pb.GetOrderRequest(order_id=order_id))

    assert caught.value.code() == code  # type: ignore[attr-defined]
