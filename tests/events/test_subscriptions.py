"""A subscription is known by its name, whatever its function is called; a new one starts now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from django.core.management import CommandError, call_command
from django.db.models import Max
from google.protobuf.message import Message

from protos.order_pb2 import OrderCreated, OrderPaid, OrderShipped
from severable.events import delivery, feed, handlers, reconciler, status, subscriptions
from severable.events.handlers import on
from severable.events.models import Delivery, Event, RelayPosition, Subscription
from severable.events.store import envelope
from severable.management.commands.subscriptions import Command
from tests.events.recorded import recorded
from tests.machine import do_jobs, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_grace")]


class Shop:
    """What the handlers of a deployment have done, by the name of their function."""

    def __init__(self, deploy: Callable[[], None]) -> None:
        self.effects: list[tuple[str, str]] = []
        self.deploy = deploy

    def subscribe(
        self,
        function_name: str,
        *events: type[Message],
        name: str = "",
        start: Literal["now", "beginning"] = "now",
    ) -> None:
        """A handler of orders, as its module has it."""

        def function(event: Any) -> None:
            self.effects.append((function_name, event.order_id))

        function.__name__ = function_name
        function.__module__ = "apps.orders.handlers"
        on(*(events or (OrderCreated,)), name=name, start=start)(function)

    def settle(self) -> None:
        """Compare until every event that is committed has been looked at, and do what is due."""
        last = Event.objects.aggregate(last=Max("position"))["last"] or 0
        eventually(lambda: (feed.end_of("orders") or feed.START)[1] == last)
        while reconciler.reconcile():
            pass
        while do_jobs():
            pass


@pytest.fixture
def shop() -> Iterator[Shop]:
    def deploy() -> None:
        """A new version: its handlers are those that it registers from here on."""
        deployed.enter_context(handlers.overridden())

    with ExitStack() as deployed:
        deploy()
        yield Shop(deploy)


def history(shop: Shop, count: int = 3) -> None:
    """A shop whose one handler has had so many events."""
    shop.subscribe("tell")
    recorded(count)
    shop.settle()
    assert len(shop.effects) == count
    shop.effects.clear()
    shop.deploy()


def test_a_new_database_starts_at_the_beginning(shop: Shop) -> None:
    """Also with what was recorded before anything read it, such as the demo's accounts."""
    recorded(3)
    shop.subscribe("tell")
    shop.settle()
    assert len(shop.effects) == 3


def test_a_renamed_function_repeats_nothing_and_misses_nothing(shop: Shop) -> None:
    """Regression: 10 mails became 20."""
    history(shop)
    recorded(1, OrderShipped)
    shop.subscribe("tell_customer", name="tell")
    shop.settle()
    assert shop.effects == []
    recorded(2)
    shop.settle()
    assert len(shop.effects) == 2


def test_a_handler_that_an_old_shop_gains_starts_now(shop: Shop) -> None:
    """Regression: it had its effect for all history. What comes after it was deployed, and is lost
    by the broker, is not lost."""
    history(shop)
    shop.subscribe("tell")
    shop.subscribe("mail")
    subscriptions.start_all()  # as `manage.py prepare`, before any process of the new version
    recorded(2)
    shop.settle()
    assert sorted(name for name, _ in shop.effects) == ["mail", "mail", "tell", "tell"]


def test_history_is_read_if_it_is_asked_for(shop: Shop) -> None:
    history(shop)
    shop.subscribe("count", start="beginning")
    recorded(1)
    shop.settle()
    assert len(shop.effects) == 4


def test_the_first_handler_of_an_old_database_starts_now(shop: Shop) -> None:
    """No handler has read there, and it is not new: its events have been published."""
    event = recorded(3)[-1]
    RelayPosition.objects.create(
        name="relay", transaction_id=event.transaction_id, position=event.position
    )
    shop.subscribe("mail")
    shop.settle()
    assert shop.effects == []
    recorded(1)
    shop.settle()
    assert len(shop.effects) == 1


def test_a_feed_that_does_not_answer_is_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the broker brings meanwhile is handled, and what it loses after that is found."""
    history(shop)
    shop.subscribe("mail")
    with monkeypatch.context() as down:
        down.setattr(feed, "stub", lambda *_: (_ for _ in ()).throw(grpc.RpcError("down")))
        subscriptions.start_all()
        reconciler.reconcile()
    assert not Subscription.objects.filter(handler="orders.mail").exists()
    brought, *_ = recorded(4)
    delivery.handle([envelope(brought)], handlers.named("orders.mail"))
    shop.settle()
    assert len(shop.effects) == 4


def test_a_feed_that_cannot_tell_its_end_starts_no_new_handler(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is deployed later than its subscribers: the others are compared."""
    history(shop)
    shop.subscribe("tell")
    shop.subscribe("mail")
    recorded(1)
    monkeypatch.setattr(feed, "end_of", lambda source: None)
    eventually(lambda: bool(reconciler.reconcile() or do_jobs() or shop.effects))
    assert shop.effects == [("tell", "o0")]
    assert not Subscription.objects.filter(handler="orders.mail").exists()


def test_a_type_that_a_handler_gains_is_read_from_then_on(shop: Shop) -> None:
    """Regression: up to a page of old events came with it, for what others subscribe to was
    passed by only now and then."""
    history(shop)
    shop.subscribe("tell")
    recorded(4, OrderShipped)
    shop.settle()
    shop.deploy()
    shop.subscribe("tell", OrderCreated, OrderShipped)
    shop.settle()
    assert shop.effects == []
    recorded(1, OrderShipped)
    shop.settle()
    assert len(shop.effects) == 1


def test_a_subscription_whose_handler_is_gone_is_told_until_it_is_forgotten(shop: Shop) -> None:
    history(shop)
    shop.subscribe("mail", start="beginning")
    shop.settle()
    assert list(status.status().problems(lag=1e9)) == [
        "orders.tell: its handler does not exist any more; "
        "`manage.py subscriptions --forget orders.tell` if that is intended"
    ]
    call_command("subscriptions", "--forget", "orders.tell")
    assert list(status.status().problems(lag=1e9)) == []
    with pytest.raises(CommandError, match=r"orders\.mail has a handler here"):
        call_command("subscriptions", "--forget", "orders.mail")
    assert Delivery.objects.filter(handler="orders.tell").count() == 3


def test_a_name_is_of_one_handler(shop: Shop) -> None:
    shop.subscribe("tell")
    with pytest.raises(ValueError, match=r"two handlers orders\.tell"):
        shop.subscribe("other", name="tell")
    with pytest.raises(ValueError, match="start"):
        shop.subscribe("third", start="yesterday")  # type: ignore[arg-type]


@pytest.mark.usefixtures("shop")
def test_what_is_gone_renamed_or_gained_is_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = tmp_path / "subscriptions.json"
    monkeypatch.setattr("severable.management.commands.subscriptions.DOCUMENT", document)
    shop.subscribe("tell")
    shop.subscribe("ship", OrderPaid)
    shop.subscribe("count", OrderShipped)
    call_command("subscriptions", "--release")
    assert json.loads(document.read_text())["orders.ship"] == ["order.OrderPaid"]
    call_command("subscriptions", "--check")
    shop.deploy()
    shop.subscribe("inform")
    shop.subscribe("count", OrderShipped, OrderCreated)
    shop.subscribe("mail", OrderCreated, OrderPaid, start="beginning")
    with pytest.raises(CommandError) as found:
        call_command("subscriptions", "--check")
    *lines, last = str(found.value).splitlines()
    assert lines == [
        'orders.inform is new and orders.tell is removed: if it was renamed, set name="tell"',
        "orders.ship is removed: its waiting deliveries will be parked",
        "orders.count: subscribes to order.OrderCreated from now on",
        "orders.mail is new: it starts at the beginning",
    ]
    assert "--release" in last
    call_command("subscriptions", "--release")
    call_command("subscriptions", "--check")
    assert Command.help
