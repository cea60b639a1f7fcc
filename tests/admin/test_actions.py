"""Actions of the admin: through the services, outside transactions, refusals as messages."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from apps.inventory.models import Product
from apps.notifications.models import Notification
from apps.orders.models import Order
from apps.payments.models import Payment
from apps.users import sessions
from apps.users.models import Session, User
from severable.events import handlers
from severable.events.models import Delivery, Event
from severable.jobs.models import Job
from severable.saga.models import Saga
from tests.admin import rows
from tests.admin.conftest import messages_of
from tests.admin.views import listed, page
from tests.conftest import MakeUser
from tests.machine import settle

pytestmark = pytest.mark.django_db


def act(desk: Client, action: str, *chosen: Any, **fields: Any) -> list[str]:
    """Run an action on ticked rows; what the page then says."""
    ticked = [row.pk for row in chosen]
    form = {"action": action, "_selected_action": ticked, "index": 0} | fields
    return messages_of(desk.post(listed(chosen[0]), form, follow=True))


def press(desk: Client, button: str, row: Any, **fields: Any) -> list[str]:
    """Press a button of a row's page and confirm; what the page then says."""
    answer = desk.post(
        page(row).replace("/change/", f"/{button}/"), {"_form_submitted": "True"} | fields
    )
    return messages_of(desk.get(answer["HX-Redirect"]))


def parked(job: Job) -> None:
    type(job)._default_manager.filter(pk=job.pk).update(
        state="parked", attempts=8, due_at=None, error="not today"
    )


def test_ship_ships_what_is_paid_and_says_no_to_the_rest(
    place: Any, boss: User, desk: Client
) -> None:
    """A 500, or an all-or-nothing, where one of the ticked orders cannot be shipped."""
    paid, rejected = place(), place("tok_declined")
    said = act(desk, "ship", paid, rejected)
    assert said == [
        f"{rejected.id}: An order that is rejected cannot become shipped.",
        "1 order shipped.",
    ]
    assert Order.objects.get(id=paid.id).status == "shipped"
    assert Event.objects.get(type="order.OrderShipped").actor == f"user-{boss.id}"


def test_cancel_gives_the_money_back(place: Any, desk: Client) -> None:
    """A cancellation by hand that skips the saga."""
    order = place(method="credit")
    assert press(desk, "cancel_one", order) == ["1 order cancelled."]
    settle()
    assert Payment.objects.get(order_id=order.id).status == "refunded"
    assert User.objects.get(id=order.user_id).credit == 100_000


def test_a_button_only_asks_until_it_is_confirmed(place: Any, desk: Client) -> None:
    """A link that ships: any page could make staff follow it."""
    order = place()
    answer = desk.get(page(order).replace("/change/", "/ship_one/"))
    assert "Ship?" in answer.content.decode()
    assert Order.objects.get(id=order.id).status == "paid"


def test_a_button_refuses_a_form_of_another_site(place: Any, boss: User) -> None:
    """Cross-site request forgery."""
    order = place()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(boss)
    url = page(order).replace("/change/", "/ship_one/")
    assert strict.post(url, {"_form_submitted": "True"}).status_code == 403


def test_a_button_of_a_row_that_is_not_there_does_nothing(desk: Client) -> None:
    """A 500 for an id that is none."""
    answer = desk.post("/admin/orders/order/nonsense/ship_one/", {"_form_submitted": "True"})
    assert answer["HX-Redirect"] == "/admin/orders/order/"


def test_refund_asks_the_other_context_outside_any_transaction(place: Any, desk: Client) -> None:
    """CallInTransaction: a refund of store credit calls users."""
    payment = Payment.objects.get(order_id=place(method="credit").id)
    assert act(desk, "refund", payment) == ["1 payment refunded."]
    assert Payment.objects.get(id=payment.id).status == "refunded"


def test_a_declined_payment_has_nothing_to_refund(place: Any, desk: Client) -> None:
    """A refusal that becomes a 500."""
    payment = Payment.objects.get(order_id=place("tok_declined").id)
    (said,) = press(desk, "refund_one", payment)
    assert said.endswith("This payment was declined: there is nothing to refund.")


def test_retry_brings_back_what_was_parked(place: Any, desk: Client) -> None:
    """A parked delivery or mail that cannot be brought back to life."""
    place()
    settle()
    for job in (Delivery.objects.latest("pk"), Notification.objects.latest("pk")):
        parked(job)
        assert act(desk, "retry", job) == [f"1 {job._meta.verbose_name} due now."]
        job.refresh_from_db()
        assert job.state == "waiting"
    settle()
    assert not Notification.objects.exclude(state="done").exists()


def test_what_is_done_is_not_tried_again(place: Any, desk: Client) -> None:
    """A mail that goes out twice by a click."""
    place()
    settle()
    (said,) = press(desk, "retry_one", Notification.objects.latest("pk"))
    assert said.endswith("This job is done: there is nothing to retry.")


def test_a_retried_saga_is_lost_to_whoever_held_it(place: Any, desk: Client) -> None:
    """Two who drive one saga, because its attempts were counted anew: the late one's step would
    be taken twice."""
    order = place(Prefer="respond-async")
    slow = Saga.claim(Saga.objects.get(key=order.id).pk)
    assert slow
    act(desk, "retry", slow)
    fresh = Saga.claim(slow.pk)
    assert fresh
    assert (slow.attempt(), Order.objects.get(id=order.id).status) == (False, "pending")
    assert (fresh.attempt(), Order.objects.get(id=order.id).status) == (True, "paid")


def test_only_what_is_parked_can_be_discarded(place: Any, boss: User, desk: Client) -> None:
    """A delivery under way that is thrown away; one that nobody can say who discarded it."""
    place()
    settle()
    last, other = Delivery.objects.order_by("-pk")[:2]
    parked(last)
    assert sorted(act(desk, "discard", last, other, reason="a fake order")) == [
        "1 delivery discarded.",
        f"{other}: Only a parked delivery can be discarded.",
    ]
    last.refresh_from_db()
    why = f"discarded by user-{boss.id}: a fake order; not today"
    assert (last.state, last.error) == ("done", why)
    assert "discarded" in desk.get(listed(Delivery)).content.decode()


def test_nothing_is_discarded_without_a_reason(place: Any, desk: Client) -> None:
    """An event that never had its effect, and nobody knows why."""
    place()
    settle()
    last = Delivery.objects.latest("pk")
    parked(last)
    assert 'placeholder="Reason"' in desk.get(listed(Delivery)).content.decode()
    assert act(desk, "discard", last) == ["Discard: reason: This field is required."]
    url = page(last).replace("/change/", "/discard_one/")
    assert 'name="reason"' in desk.get(url).content.decode()
    desk.post(url, {"_form_submitted": "True", "reason": " "})
    assert Delivery.objects.get(pk=last.pk).state == "parked"
    assert press(desk, "discard_one", last, reason="a fake order") == ["1 delivery discarded."]


def test_only_what_may_happen_again_is_replayed(place: Any, desk: Client) -> None:
    """A mail that goes out twice by a click; a read model that cannot be mended by one."""
    place()
    settle()
    mail = Delivery.objects.filter(handler="notifications.tell_paid").get()
    (said,) = press(desk, "replay_one", mail)
    assert "notifications.tell_paid cannot be replayed" in said
    again = handlers.Handler("orders.start_shipping", "orders", "order.OrderPaid", print, (), True)
    with handlers.overridden(again):
        created = Delivery.objects.filter(handler="orders.start_shipping").get()
        assert press(desk, "replay_one", created) == ["1 delivery due again."]
        (said,) = press(desk, "replay_one", created)
        assert said.endswith("Only a delivery that is done can be replayed.")
        settle()
        created.refresh_from_db()
        assert (created.state, created.attempts) == ("done", 2)
    Delivery.objects.filter(pk=created.pk).update(handler="orders.gone")
    (said,) = press(desk, "replay_one", created)
    assert said.endswith("There is no handler 'orders.gone' here.")


def test_restock_adds_once_however_often_it_is_clicked(mug: Product, desk: Client) -> None:
    """A double click that doubles the stock."""
    fields = {"quantity": 5, "key": "01a20325-5639-732b-8c87-3cbcaff215a1"}
    press(desk, "restock", mug, **fields)
    press(desk, "restock", mug, **fields)
    mug.refresh_from_db()
    assert mug.available == 15


def test_credit_is_given_by_the_service_and_never_goes_below_zero(
    alice: User, desk: Client
) -> None:
    """Euros taken for cents; credit that nobody recorded; a refusal that becomes a 500."""
    press(desk, "give_credit", alice, amount="12.50", reason="sorry", key="k1")
    assert User.objects.get(id=alice.id).credit == 1250
    (said,) = press(desk, "give_credit", alice, amount="-99", reason="oops", key="k2")
    assert said.endswith("There is not enough store credit.")
    assert Event.objects.filter(type="user.CreditChanged").count() == 1


def test_staff_end_a_session(alice: User, desk: Client) -> None:
    """A stolen refresh token that stays good."""
    tokens = sessions.sign_in(username="alice", password="correct horse battery")
    act(desk, "end", Session.objects.get())
    with pytest.raises(sessions.BadToken):
        sessions.refresh_tokens(refresh=tokens.refresh)


def test_who_may_only_look_may_not_act(make_user: MakeUser, place: Any, client: Client) -> None:
    """Actions that skip Django's permissions."""
    order = place()
    clerk = make_user("clerk")
    User.objects.filter(id=clerk.id).update(is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_order"))
    client.force_login(User.objects.get(id=clerk.id))
    act(client, "ship", order)
    url = page(order).replace("/change/", "/ship_one/")
    assert client.post(url, {"_form_submitted": "True"}).status_code == 403
    assert Order.objects.get(id=order.id).status == "paid"
    assert rows.make(Order, 1).status == "rejected"
