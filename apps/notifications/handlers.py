"""Event handlers that create mails to customers."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.message import Message

from apps.notifications.services import notify
from protos.order_pb2 import OrderCancelled, OrderCreated, OrderPaid, OrderRejected, OrderShipped
from protos.user_pb2 import (
    CreateEmailConfirmationRequest,
    EmailConfirmation,
    EmailConfirmationRequested,
    GetPreferencesRequest,
    GetUserRequest,
    Preferences,
    UserRegistered,
    UserResponse,
)
from protos.user_pb2_grpc import UserServiceStub
from severable.errors import NotFound, from_error
from severable.events import on, type_of
from severable.rpc import stub


@dataclass(frozen=True)
class Recipient:
    user: UserResponse
    preferences: Preferences


def recipient(event: Any) -> Recipient | None:
    """Return the recipient, or None if the user does not exist, because orders for such a user are
    rejected, or if the e-mail address is unconfirmed, because it may be another person's."""
    users = stub(UserServiceStub)
    try:
        user = users.GetUser(GetUserRequest(user_id=event.user_id))
        if not user.email_confirmed:
            return None
        preferences = users.GetPreferences(GetPreferencesRequest(user_id=event.user_id))
        return Recipient(user=user, preferences=preferences)
    except grpc.RpcError as error:
        if isinstance(from_error(error), NotFound):
            return None
        raise


def confirmation(event: EmailConfirmationRequested) -> EmailConfirmation:
    """Return the link that confirms an address. It is secret, so the event does not contain it."""
    request = CreateEmailConfirmationRequest(user_id=event.user_id)
    return stub(UserServiceStub).CreateEmailConfirmation(request)


@on(EmailConfirmationRequested, prefetch=confirmation, batch=True)
def confirm_email(event: EmailConfirmationRequested, to: EmailConfirmation) -> None:
    # The address may be a stranger's: this mail contains nothing that the account's owner typed.
    if to.url:
        notify(
            user_id=event.user_id,
            email=to.email,
            kind=type_of(event),
            subject="Please confirm your e-mail address",
            body="Somebody has given us this e-mail address for an account at the shop.\n\n"
            f"If that was you, confirm it here:\n{to.url}\n\n"
            "If it was not, ignore this mail: nothing else will be sent to you.\n",
            confidential=True,
        )


@on(UserRegistered, prefetch=recipient, batch=True)
def welcome(event: UserRegistered, to: Recipient | None) -> None:
    if to and to.preferences.account_mails:
        notify(
            user_id=event.user_id,
            email=to.user.email,
            kind=type_of(event),
            subject="Welcome",
            body=f"{_hello(to)}\n\nyour account is open.\n",
        )


@on(OrderCreated, prefetch=recipient, batch=True)
def tell_created(event: OrderCreated, to: Recipient | None) -> None:
    _tell(event, to, "We have your order", "we have your order and will tell you how it goes on.")


@on(OrderPaid, prefetch=recipient, batch=True)
def tell_paid(event: OrderPaid, to: Recipient | None) -> None:
    amount = f"{event.total / 100:.2f} {event.currency}"
    _tell(event, to, "Your order is paid", f"your order over {amount} is paid. We pack it now.")


@on(OrderRejected, prefetch=recipient, batch=True)
def tell_rejected(event: OrderRejected, to: Recipient | None) -> None:
    _tell(event, to, "We could not take your order", f"your order failed. {event.detail}")


@on(OrderCancelled, prefetch=recipient, batch=True)
def tell_cancelled(event: OrderCancelled, to: Recipient | None) -> None:
    _tell(event, to, "Your order is cancelled", "your order is cancelled. You pay nothing.")


@on(OrderShipped, prefetch=recipient, batch=True)
def tell_shipped(event: OrderShipped, to: Recipient | None) -> None:
    _tell(event, to, "Your order is on its way", "your order has left our house.")


def _tell(event: Message, to: Recipient | None, subject: str, text: str) -> None:
    if not to or not to.preferences.order_mails:
        return
    order_id = str(event.order_id)  # type: ignore[attr-defined]
    notify(
        user_id=to.user.id,
        email=to.user.email,
        kind=type_of(event),
        subject=f"{subject} ({order_id[-8:]})",
        body=f"{_hello(to)}\n\n{text}\n\nOrder {order_id}\n",
        order_id=UUID(order_id),
    )


def _hello(to: Recipient) -> str:
    return f"Hello {' '.join(to.user.name.split())},"  # old accounts' names may contain line breaks
