"""E-mail addresses are confirmed before the shop writes to them, and no stranger is written to
in a customer's words."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from django.core import mail, signing
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.notifications.models import Notification
from apps.users import services
from apps.users.models import User
from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.events.models import Event
from severable.rpc.client.stubs import stub
from tests.conftest import ClientFor
from tests.machine import settle
from tests.threads import together

pytestmark = pytest.mark.django_db

CAROL = {
    "username": "carol",
    "password": "correct horse battery",
    "name": "Win a prize at evil.example",
    "email": "carol@example.com",
    "address": "2 Market Street",
}
AGAIN = "/api/users/me/email-confirmation"
CONFIRM = "/api/users/confirm-email"
PAGE = f"{CONFIRM}/page"


@pytest.fixture
def carol(anonymous: APIClient) -> User:
    """Signed up over the public API; her address is unconfirmed."""
    assert anonymous.post("/api/users", CAROL).status_code == 201
    return User.objects.get(username="carol")


@pytest.fixture
def client(carol: User, client_for: ClientFor) -> APIClient:
    return client_for(carol)


def token_in(body: str) -> str:
    (link,) = re.findall(r"https?://\S+", body)
    (token,) = parse_qs(urlsplit(link).query)["token"]
    return token


def mailed_token() -> str:
    """The token of the last confirmation mail."""
    settle()
    return token_in(str(mail.outbox[-1].body))


def order(client: APIClient, token: str) -> Any:
    payment = {"method": "card", "token": token}
    return client.post(
        "/api/orders", {"items": [{"sku": "MUG", "quantity": 1}], "payment": payment}
    )


# What a stranger is sent


def test_an_unconfirmed_address_gets_one_mail_whatever_is_ordered(
    client: APIClient, make_product: Any
) -> None:
    """A sign-up with a stranger's address and 20 declined orders: 41 mails to the stranger."""
    make_product("MUG", available=100)
    for _ in range(20):
        assert order(client, "tok_declined").status_code == 402
    settle()

    assert [sent.to for sent in mail.outbox] == [["carol@example.com"]]


def test_the_confirmation_has_nothing_that_the_account_typed(carol: User) -> None:
    """200 characters of an attacker's text, from the shop's address."""
    settle()
    (sent,) = mail.outbox

    assert CAROL["name"] not in sent.body + sent.subject
    assert CAROL["username"] not in sent.body + sent.subject


@pytest.mark.parametrize("control", ["\n", "\r\n", "\t", "\x1b", "\x85", "\u2028", "\u202e"])
def test_a_name_is_one_line(anonymous: APIClient, alice: User, control: str) -> None:
    """Paragraphs of one's own in a mail of the shop's."""
    name = f"Carol{control}Cook"
    answer = anonymous.post("/api/users", CAROL | {"name": name})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "name")

    users = stub(UserServiceStub)
    calls = [
        lambda: users.CreateUser(pb.CreateUserRequest(name=name, email="new@example.com")),
        lambda: users.UpdateUser(pb.UpdateUserRequest(user_id=alice.id, name=name)),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert User.objects.count() == 1


def test_an_address_has_lines_and_no_other_controls(alice: User, client_for: ClientFor) -> None:
    def status(address: str) -> int:
        answer = client_for(alice).patch(f"/api/users/{alice.id}", {"address": address})
        return int(answer.status_code)

    assert [status(text) for text in ("1 Street\nTown", "1 Street\r\nTown")] == [200, 200]
    assert [status(text) for text in ("1\x1b[2J Street", "1\u202eStreet")] == [400, 400]


def test_a_name_that_is_older_than_the_rule_stays_one_line_in_mails(alice: User) -> None:
    User.objects.filter(id=alice.id).update(name="Alice\n\nYou won")
    settle()

    assert "Hello Alice You won," in mail.outbox[0].body


# Confirming


def test_a_confirmed_address_gets_mails(client: APIClient, mug: Product) -> None:
    token = mailed_token()
    answer = APIClient().post(CONFIRM, {"token": token})
    assert (answer.status_code, answer.json()) == (
        200,
        {"email": "carol@example.com", "email_confirmed": True},
    )
    assert APIClient().post(CONFIRM, {"token": token}).json() == answer.json()  # a second click
    assert client.get("/api/users/me").json()["email_confirmed"]
    mail.outbox.clear()
    order(client, "tok_visa")
    settle()

    assert len(mail.outbox) == 2
    assert Event.objects.filter(type="user.EmailConfirmed").count() == 1


def test_a_new_address_has_to_be_confirmed_again(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    """A confirmed account that turns its mails to a stranger."""
    client = client_for(alice)
    settle()
    mail.outbox.clear()
    changed = client.patch(f"/api/users/{alice.id}", {"email": "stranger@example.com"})
    assert not changed.json()["email_confirmed"]
    order(client, "tok_visa")
    settle()

    (sent,) = mail.outbox
    assert (sent.to, "confirm" in sent.subject) == (["stranger@example.com"], True)
    assert APIClient().post(CONFIRM, {"token": token_in(str(sent.body))}).status_code == 200


def test_other_changes_leave_an_address_confirmed(alice: User, client_for: ClientFor) -> None:
    body = {"name": "Al", "email": alice.email.upper(), "address": "x"}
    assert client_for(alice).patch(f"/api/users/{alice.id}", body).json()["email_confirmed"]


def test_a_token_confirms_the_address_that_it_was_sent_to(client: APIClient, carol: User) -> None:
    """An address of one's own, confirmed, then exchanged for a stranger's."""
    token = mailed_token()
    client.patch(f"/api/users/{carol.id}", {"email": "stranger@example.com"})

    refused = APIClient().post(CONFIRM, {"token": token})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_token")
    assert not client.get("/api/users/me").json()["email_confirmed"]


def test_no_other_token_confirms(carol: User, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = [
        "garbage",
        signing.dumps([carol.id, carol.email]),  # of another purpose
        mailed_token()[:-1],
    ]
    late = mailed_token()
    assert [APIClient().post(CONFIRM, {"token": t}).status_code for t in forged] == [422] * 3

    now = timezone.now() + timedelta(days=4)
    monkeypatch.setattr("django.core.signing.time.time", now.timestamp)
    assert APIClient().post(CONFIRM, {"token": late}).status_code == 422


def test_guesses_are_limited_by_address(settings: Any) -> None:
    settings.SIGN_IN_TRIES = 3
    client = APIClient()
    assert [client.post(CONFIRM, {"token": "x"}).status_code for _ in range(4)] == [422] * 3 + [429]
    page = Client().post(PAGE, {"token": "x"})
    assert (page.status_code, int(page["Retry-After"]) > 0) == (429, True)


def test_the_token_is_only_in_the_mail(client: APIClient, carol: User) -> None:
    """Whoever signed up reads the mail to a stranger in their own notifications, or in events."""
    token = mailed_token()
    (listed,) = client.get("/api/notifications").json()["results"]

    assert (listed["kind"], listed["body"]) == ("user.EmailConfirmationRequested", "")
    assert token not in str(list(Event.objects.values_list("data", flat=True)))
    assert token_in(Notification.objects.get().body) == token


def test_accounts_of_the_contract_are_unconfirmed() -> None:
    new = pb.CreateUserRequest(name="Dora", email="dora@example.com")
    created = stub(UserServiceStub).CreateUser(new)
    settle()

    assert not created.email_confirmed
    assert [sent.to for sent in mail.outbox] == [["dora@example.com"]]


# The page


def test_the_link_opens_a_page_that_confirms_on_a_click_only(carol: User, settings: Any) -> None:
    """Mail scanners open every link."""
    token = mailed_token()
    (link,) = re.findall(r"https?://\S+", mail.outbox[-1].body)
    assert link.startswith(f"{settings.PUBLIC_URL}{PAGE}?token=")
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(PAGE, {"token": token})
    assert (page.status_code, "no-store" in page["Cache-Control"]) == (200, True)
    (hidden,) = re.findall(r'name="token" value="([^"]+)"', page.content.decode())
    assert unescape(hidden) == token
    assert not User.objects.get(id=carol.id).email_confirmed

    done = browser.post(PAGE, {"token": hidden})
    assert (done.status_code, carol.email in done.content.decode()) == (200, True)
    assert User.objects.get(id=carol.id).email_confirmed


def test_the_page_says_that_a_link_is_not_valid() -> None:
    for token in ("", "x", "\0", "é" * 5000):
        page = Client().post(PAGE, {"token": token})
        assert (page.status_code, "invalid" in page.content.decode()) == (422, True)
    page = Client().get(PAGE, {"token": '"><script>'})
    assert "<script>" not in page.content.decode()


# Limits


def test_a_mail_is_sent_again_within_limits(client: APIClient, carol: User) -> None:
    answers = [client.post(AGAIN) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [202, 202, 429, 429]
    assert int(answers[-1]["Retry-After"]) > 3500
    settle()
    assert len(mail.outbox) == 3


def test_who_is_confirmed_is_told_so(alice: User, client_for: ClientFor) -> None:
    answer = client_for(alice).post(AGAIN)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_confirmed")


def test_an_account_that_changes_its_address_all_day_writes_to_few(
    client: APIClient, carol: User
) -> None:
    """100 strangers in five minutes."""
    for number in range(100):
        email = f"stranger-{number}@example.com"
        assert client.patch(f"/api/users/{carol.id}", {"email": email}).status_code == 200
    settle()

    assert len(mail.outbox) <= 5


def test_an_address_that_accounts_pass_on_is_written_to_rarely(anonymous: APIClient) -> None:
    """Accounts that take the same stranger's address one after the other."""
    for number in range(6):
        username = f"carol{number}"
        body = CAROL | {"username": username, "email": f"{username}@example.com"}
        user = User.objects.get(id=anonymous.post("/api/users", body).json()["id"])
        services.update_profile(user_id=user.id, email="stranger@example.com")
        services.update_profile(user_id=user.id, email=body["email"])

    requests = Event.objects.filter(type="user.EmailConfirmationRequested")
    assert requests.count() == 6 + 3 + 6


@pytest.mark.django_db(transaction=True)
def test_of_those_who_ask_again_at_once_no_more_than_the_limit_are_heard(
    carol: User, client_for: ClientFor
) -> None:
    clients = [client_for(carol) for _ in range(8)]
    answers = Counter(together(8, lambda number: clients[number].post(AGAIN).status_code))

    assert answers == {202: 2, 429: 6}
    assert Event.objects.filter(type="user.EmailConfirmationRequested").count() == 3
