"""Mails: who is told of what, and that a mail is sent once however often it is tried."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.notifications import services
from apps.notifications.models import Notification
from apps.users.models import User
from severable.events.models import Delivery
from severable.jobs import tasks
from tests.conftest import ClientFor, MakeUser
from tests.machine import deliver_events, do_jobs, settle

pytestmark = pytest.mark.django_db

CARD = {"method": "card", "token": "tok_visa"}


@pytest.fixture
def client(alice: User, mug: Product, client_for: ClientFor) -> APIClient:
    return client_for(alice)


def order(client: APIClient, quantity: int = 1, **more: Any) -> Any:
    path = "/api/admin/orders" if more else "/api/orders"
    body = {"items": [{"sku": "MUG", "quantity": quantity}], "payment": CARD}
    return client.post(path, body | more).json()


def kinds() -> Counter[str]:
    return Counter(Notification.objects.values_list("kind", flat=True))


def test_each_event_is_told_once(client: APIClient, staff: User, client_for: ClientFor) -> None:
    shipped, cancelled = order(client), order(client)
    order(client, quantity=999)
    client_for(staff).post(f"/api/orders/{shipped['id']}/ship")
    client.post(f"/api/orders/{cancelled['id']}/cancel")
    settle()

    assert kinds() == {
        "user.UserRegistered": 2,
        "order.OrderCreated": 3,
        "order.OrderPaid": 2,
        "order.OrderRejected": 1,
        "order.OrderShipped": 1,
        "order.OrderCancelled": 1,
    }
    assert len(mail.outbox) == Notification.objects.filter(state="done").count() == 10


def test_a_mail_says_to_whom_and_what(alice: User, client: APIClient) -> None:
    placed = order(client, quantity=2)
    settle()
    paid = next(sent for sent in mail.outbox if "paid" in sent.subject)

    assert paid.to == [alice.email]
    assert "18.00 EUR" in paid.body
    assert placed["id"] in paid.body


def test_who_wants_no_mails_of_orders_gets_none(alice: User, client: APIClient) -> None:
    preferences = {"order_mails": False, "account_mails": True}
    client.put(f"/api/users/{alice.id}/preferences", preferences)
    order(client)
    settle()

    assert kinds() == {"user.UserRegistered": 1}


def test_who_wants_no_mails_of_the_account_gets_only_those_of_orders(
    alice: User, client: APIClient
) -> None:
    preferences = {"order_mails": True, "account_mails": False}
    client.put(f"/api/users/{alice.id}/preferences", preferences)
    order(client)
    settle()

    assert kinds() == {"order.OrderCreated": 1, "order.OrderPaid": 1}


def test_an_order_for_nobody_is_told_to_nobody(
    client: APIClient, staff: User, client_for: ClientFor
) -> None:
    """A delivery that can never succeed would be tried for minutes, and parked."""
    order(client_for(staff), user_id=999)
    settle()

    assert not Notification.objects.filter(user_id=999).exists()
    assert not Delivery.objects.exclude(state="done").exists()


def try_again() -> None:
    Notification.objects.filter(state="waiting").update(due_at=Now())
    do_jobs()


def test_a_mail_that_cannot_be_sent_is_tried_again(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, messages: Any) -> int:
        raise OSError("no mail server")

    with monkeypatch.context() as down:
        down.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)
        settle()
    welcome = Notification.objects.get()
    assert (welcome.state, welcome.error) == ("waiting", "OSError: no mail server")

    try_again()
    welcome.refresh_from_db()
    assert (welcome.state, welcome.error, welcome.attempts) == ("done", "", 2)
    assert welcome.sent_at
    assert len(mail.outbox) == 1


def test_a_mail_that_can_never_be_sent_is_parked(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, messages: Any) -> int:
        raise OSError("no such mailbox")

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse)
    settle()
    for _ in range(20):
        try_again()
    welcome = Notification.objects.get()

    assert (welcome.state, welcome.attempts) == ("parked", Notification.max_attempts)
    assert "no such mailbox" in welcome.error


def test_a_mail_that_is_sent_twice_is_one_file(alice: User, settings: Any) -> None:
    """A process may die after sending and before noting it."""
    settings.EMAIL_BACKEND = "shop.mail.FileBackend"
    settle()
    welcome = Notification.objects.get()
    Notification.objects.update(state="waiting")
    try_again()
    files = list(settings.MAIL_DIR.iterdir())

    assert Notification.objects.get().attempts == 2
    assert [file.suffix for file in files] == [".eml"]
    assert welcome.message_id in files[0].read_text()


@pytest.mark.django_db(transaction=True)
def test_a_mail_costs_one_insert_and_one_update() -> None:
    """A message, a claim and a SELECT for each mail: the worker that made it can send it."""
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        services.notify(user_id=7, email="a@example.com", kind="k", subject="s", body="b")
    statements = [query["sql"].split()[0] for query in captured]
    assert statements == ["BEGIN", "INSERT", "COMMIT", "UPDATE"]
    assert Notification.objects.get().state == "done"


def test_mails_behind_a_slow_one_are_left_to_other_workers(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    """Their leases run out behind it: another worker would send them, too."""
    with django_capture_on_commit_callbacks() as planned:
        services.notify(user_id=7, email="a@example.com", kind="k", subject="s", body="b")
    monkeypatch.setattr(tasks, "monotonic", lambda: time.monotonic() + 60)
    for run in planned:
        run()
    assert (Notification.objects.get().error, len(mail.outbox)) == ("the worker was busy", 0)
    Notification.objects.update(due_at=Now())
    do_jobs()
    assert len(mail.outbox) == 1


def test_who_dies_after_sending_sends_the_same_mail_again(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail that is lost because it was noted before it was sent; one that comes twice and
    looks like two."""

    def die(self: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(services, "_mark_sent", die)
        deliver_events()
    welcome = Notification.objects.get()
    assert (welcome.state, welcome.attempts, len(mail.outbox)) == ("waiting", 1, 1)
    do_jobs()
    assert len(mail.outbox) == 1  # the dead one's lease

    try_again()
    first, second = (sent.message() for sent in mail.outbox)
    assert first.as_bytes() == second.as_bytes()
    assert first["Message-ID"] == welcome.message_id
    try_again()
    assert len(mail.outbox) == 2


def test_no_two_mails_have_the_same_id(client: APIClient) -> None:
    """A mail that the mail server drops, because it takes it for another."""
    order(client), order(client)
    settle()
    ids = {sent.message()["Message-ID"] for sent in mail.outbox}
    assert len(ids) == len(mail.outbox) == 5


def test_everybody_sees_their_own(
    client: APIClient, make_user: MakeUser, client_for: ClientFor
) -> None:
    placed = order(client)
    bob = make_user("bob")
    settle()

    def listed(who: APIClient, **query: Any) -> list[str]:
        found = who.get("/api/notifications", query).json()["results"]
        return [notification["kind"] for notification in found]

    assert listed(client_for(bob)) == ["user.UserRegistered"]
    assert sorted(listed(client)) == [
        "order.OrderCreated",
        "order.OrderPaid",
        "user.UserRegistered",
    ]
    assert listed(client, kind="order.OrderPaid") == ["order.OrderPaid"]
    assert len(listed(client, order_id=placed["id"])) == 2
    assert client.get("/api/notifications", {"order_id": "x"}).status_code == 400
    assert APIClient().get("/api/notifications").status_code == 401
