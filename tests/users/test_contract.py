"""The contract of users, as other contexts and old clients call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest

from apps.users.models import CreditEntry, User
from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.errors import from_error
from severable.events.models import Event
from severable.rpc.client.stubs import stub
from tests.conftest import MakeUser
from tests.threads import together

pytestmark = pytest.mark.django_db

NEW = pb.CreateUserRequest(name="Dora", email="Dora@example.com", address="3 Market Street")


def users() -> Any:
    return stub(UserServiceStub)


def code_of(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """The gRPC code and the shop's own code that a call is refused with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    refusal = from_error(caught.value)
    return caught.value.code(), refusal.code if refusal else ""  # type: ignore[attr-defined]


def test_a_user_is_found_by_id(alice: User) -> None:
    found = users().GetUser(pb.GetUserRequest(user_id=alice.id))

    assert (found.name, found.email, found.address) == ("Alice", alice.email, alice.address)
    assert found.active


@pytest.mark.parametrize("user_id", [0, -1, 999, 2**31 - 1])
def test_an_unknown_user_is_not_found(user_id: int) -> None:
    calls = [
        lambda: users().GetUser(pb.GetUserRequest(user_id=user_id)),
        lambda: users().UpdateUser(pb.UpdateUserRequest(user_id=user_id, name="x")),
        lambda: users().GetPreferences(pb.GetPreferencesRequest(user_id=user_id)),
        lambda: users().DebitCredit(pb.DebitCreditRequest(payment_id="p", user_id=user_id)),
        lambda: users().ReturnCredit(pb.ReturnCreditRequest(payment_id="p", user_id=user_id)),
    ]
    not_found = (grpc.StatusCode.NOT_FOUND, "user_not_found")

    assert [code_of(call) for call in calls] == [not_found] * len(calls)


def test_a_user_who_is_created_again_is_the_same() -> None:
    first, again = users().CreateUser(NEW), users().CreateUser(NEW)

    assert first == again
    assert (first.email, User.objects.count()) == ("dora@example.com", 1)
    assert Event.objects.filter(type="user.UserRegistered").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_user_who_is_created_many_times_at_once_is_one() -> None:
    """Clients repeat an idempotent call before the first has answered."""
    made = together(6, lambda _: users().CreateUser(NEW).id)

    assert len(set(made)) == User.objects.count() == 1


def test_another_user_does_not_get_an_email_that_is_taken(alice: User) -> None:
    other = pb.CreateUserRequest(name="Other", email="ALICE@example.com")

    assert code_of(lambda: users().CreateUser(other)) == (grpc.StatusCode.ALREADY_EXISTS, "taken")


def test_a_username_that_looks_like_an_email_blocks_nobody(make_user: MakeUser) -> None:
    User.objects.filter(id=make_user("eve").id).update(username="dora@example.com")

    assert users().CreateUser(NEW).email == "dora@example.com"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " "},
        {"name": "x" * 201},
        {"name": "nul\0"},
        {"email": ""},
        {"email": "nobody"},
        {"email": f"d@{'x' * 60}.{'y' * 60}.{'z' * 60}.{'a' * 60}.{'b' * 60}.com"},
        {"address": "x" * 501},
        {"address": "nul\0"},
    ],
)
def test_what_does_not_fit_is_an_invalid_argument(alice: User, wrong: dict[str, str]) -> None:
    new = pb.CreateUserRequest(name="Dora", email="dora@example.com")
    for field, value in wrong.items():
        setattr(new, field, value)
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "invalid")

    assert code_of(lambda: users().CreateUser(new)) == invalid
    changed = pb.UpdateUserRequest(user_id=alice.id, **wrong)
    assert code_of(lambda: users().UpdateUser(changed)) == invalid


def test_an_email_of_any_legal_length_makes_a_valid_account() -> None:
    email = f"{'d' * 60}@{'x' * 60}.{'y' * 60}.example.com"
    made = users().CreateUser(pb.CreateUserRequest(name="Dora", email=email))

    User.objects.get(id=made.id).full_clean(exclude=["password"])


def test_an_update_leaves_absent_fields_and_sets_empty_ones(alice: User) -> None:
    """`optional` tells "not given" from "given, and empty"."""
    named = users().UpdateUser(pb.UpdateUserRequest(user_id=alice.id, name="Al"))
    moved = users().UpdateUser(pb.UpdateUserRequest(user_id=alice.id, address=""))

    assert (named.name, named.email, named.address) == ("Al", alice.email, alice.address)
    assert (moved.name, moved.address) == ("Al", "")


def test_a_debit_and_its_return_are_each_done_once(make_user: MakeUser) -> None:
    alice, payment = make_user("alice", credit=100), str(uuid4())
    debit = pb.DebitCreditRequest(payment_id=payment, user_id=alice.id, amount=70)
    give_back = pb.ReturnCreditRequest(payment_id=payment, user_id=alice.id)

    assert [users().DebitCredit(debit).balance for _ in range(2)] == [30, 30]
    assert [users().ReturnCredit(give_back).balance for _ in range(2)] == [100, 100]
    assert sum(entry.amount for entry in CreditEntry.objects.all()) == 100


def test_a_return_that_comes_before_its_debit_wins(make_user: MakeUser) -> None:
    alice, payment = make_user("alice", credit=100), str(uuid4())
    debit = pb.DebitCreditRequest(payment_id=payment, user_id=alice.id, amount=70)
    users().ReturnCredit(pb.ReturnCreditRequest(payment_id=payment, user_id=alice.id))

    assert code_of(lambda: users().DebitCredit(debit))[1] == "payment_returned"
    assert User.objects.get(id=alice.id).credit == 100


def test_more_than_there_is_and_less_than_nothing_are_refused(make_user: MakeUser) -> None:
    alice = make_user("alice", credit=100)
    debits = [
        pb.DebitCreditRequest(payment_id="p", user_id=alice.id, amount=amount)
        for amount in (101, -1)
    ]

    assert [code_of(lambda d=debit: users().DebitCredit(d))[1] for debit in debits] == [
        "payment_declined",
        "invalid",
    ]
    assert User.objects.get(id=alice.id).credit == 100


@pytest.mark.django_db(transaction=True)
def test_debits_at_the_same_time_never_overdraw(make_user: MakeUser) -> None:
    alice = make_user("alice", credit=100)

    def debit(number: int) -> bool:
        try:
            users().DebitCredit(
                pb.DebitCreditRequest(payment_id=f"p{number}", user_id=alice.id, amount=40)
            )
        except grpc.RpcError:
            return False
        return True

    assert sum(together(8, debit)) == 2
    assert User.objects.get(id=alice.id).credit == 20
