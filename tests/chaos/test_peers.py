"""One deployment of a split shop is frozen or killed: the others go on, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from email import message_from_string
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.chaos.running import Shop

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("running"), pytest.mark.timeout(240)]

ORDER = {
    "items": [{"sku": "CLOCK-OAK", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.fixture(scope="module", params=["grpc", "rest"])
def split(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    shop = Shop(folder, "split", request.param)
    try:
        shop.start()
        shop.fill_the_shelves("CLOCK-OAK")
        yield shop
    finally:
        shop.close()


def web(shop: Shop, deployment: str) -> list[int]:
    """The processes that answer for a deployment."""
    port = shop.addresses[deployment][0].rpartition(":")[2]
    found = subprocess.run(
        ["pgrep", "-f", "--", f"--port {port}"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def send(shop: Shop, deployment: str, number: int) -> None:
    for pid in web(shop, deployment):
        os.kill(pid, number)


def place_for(shop: Shop, seconds: float, meanwhile: Callable[[], None]) -> list[tuple[int, Any]]:
    headers, answers = shop.sign_in("alice"), []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        meanwhile()
        answers.append(shop.request("POST", "/api/orders", ORDER, **headers))
    return answers


def all_decided(
    shop: Shop, answers: list[tuple[int, Any]], who: str = "alice"
) -> Callable[[], bool]:
    headers = shop.sign_in(who)
    ids = [answer["id"] for status, answer in answers if status in (201, 202)]

    def check() -> bool:
        found = [shop.request("GET", f"/api/orders/{i}", **headers) for i in ids]
        return all(status == 200 and order["status"] == "paid" for status, order in found)

    return check


def test_a_killed_peer_costs_no_order(split: Shop) -> None:
    answers = place_for(split, 8, lambda: send(split, "inventory", signal.SIGKILL))
    assert {status for status, _ in answers} <= {201, 202}, answers
    assert any(status == 202 for status, _ in answers)
    split.eventually(all_decided(split, answers), within=30)


def test_a_frozen_peer_costs_no_order_and_holds_nobody_else_up(split: Shop) -> None:
    headers = split.sign_in("bob")
    send(split, "payments", signal.SIGSTOP)
    try:
        answers = place_for(split, 8, lambda: None)
        began = time.monotonic()
        assert split.request("GET", "/api/users/me", **headers)[0] == 200
        assert split.request("GET", "/api/inventory/products")[0] == 200
        assert time.monotonic() - began < 1
    finally:
        send(split, "payments", signal.SIGCONT)
    assert {status for status, _ in answers} == {202}
    split.eventually(all_decided(split, answers), within=40)


def test_orders_wait_for_users_to_come_back(split: Shop) -> None:
    """Tokens are verified without asking the users: who is signed in may go on."""
    headers = split.sign_in("bob")
    assert split.request("POST", "/api/orders", ORDER, **headers)[0] == 201
    send(split, "users", signal.SIGSTOP)
    try:
        status, order = split.request("POST", "/api/orders", ORDER, **headers)
        assert status == 202
        assert split.request("GET", f"/api/orders/{order['id']}/summary", **headers)[1][
            "missing"
        ] == ["customer"]
    finally:
        send(split, "users", signal.SIGCONT)
    split.eventually(all_decided(split, [(status, order)], "bob"), within=30)


def test_mails_follow_a_customer_who_moves(split: Shop) -> None:
    """Mails to an address that was given up, or to one that nobody has confirmed."""
    headers = split.sign_in("alice")

    def written_to(address: str) -> bool:
        split.request("POST", "/api/orders", ORDER, **headers)
        return any(f"To: {address}" in mail for mail in split.mails("order.OrderPaid"))

    _, me = split.request("GET", "/api/users/me", **headers)
    split.eventually(lambda: written_to(me["email"]), within=30)
    moved = {"email": f"moved-{me['email']}"}
    assert split.request("PATCH", f"/api/users/{me['id']}", moved, **headers)[0] == 200

    def asked() -> list[str]:
        mails = map(message_from_string, split.mails("user.EmailConfirmationRequested"))
        return [
            str(mail.get_payload(decode=True)) for mail in mails if mail["To"] == moved["email"]
        ]

    split.eventually(lambda: bool(asked()), within=10)
    (link,) = re.findall(r"token=([^\s\\]+)", asked()[0])
    assert not written_to(moved["email"])
    body = {"token": unquote(link)}
    assert split.request("POST", "/api/users/confirm-email", body)[0] == 200
    split.eventually(lambda: written_to(moved["email"]), within=10)
