"""Sagas end completed or compensated, whatever fails and wherever the process dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone

from severable.errors import Conflict, OutcomeUnknown
from severable.saga import definition, driver, story
from severable.saga.definition import Definition, Step
from severable.saga.models import Saga

pytestmark = pytest.mark.django_db


class Refused(Conflict):
    code = "refused_here"


@dataclass
class Nothing:
    """No data."""


class World:
    """Three steps that append their calls to `log`, and raise what `errors` contains."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.errors: dict[str, list[BaseException]] = {}

    def does(self, name: str) -> Any:
        def do(data: Nothing) -> None:
            self.log.append(name)
            if self.errors.get(name):
                raise self.errors[name].pop(0)

        return do

    def compensated(self, data: Nothing, code: str, detail: str) -> None:
        self.log.append(f"compensated: {code}")


class Died(BaseException):
    """The process is no more."""


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    steps: tuple[Step[Nothing], ...] = (
        Step("look", world.does("look"), read_only=True),
        Step(
            "hold",
            world.does("hold"),
            compensation=world.does("free"),
            on_success=world.does("held"),
        ),
        Step(
            "pay",
            world.does("pay"),
            compensation=world.does("refund"),
            on_success=world.does("paid"),
        ),
    )
    test = Definition("test", "orders", Nothing, steps, on_compensated=world.compensated)
    with definition.overridden(test):
        yield world


def begin(*, claimed: bool = True) -> Saga:
    with transaction.atomic():
        return driver.start(definition.named("test"), uuid4(), Nothing(), claimed=claimed)


def resume(saga: Saga) -> Saga:
    """As a worker does, once the row is due."""
    Saga.objects.filter(pk=saga.pk).update(due_at=timezone.now() - timedelta(minutes=1))
    mine = Saga.claim(saga.pk)
    if mine:
        mine.attempt()
    return Saga.objects.get(pk=saga.pk)


DONE = ["look", "hold", "held", "pay", "paid"]


def test_all_steps_in_order(world: World) -> None:
    saga = begin()
    assert saga.attempt()
    assert world.log == DONE
    assert Saga.objects.get().status == "completed"


def test_a_refusal_compensates_what_was_done_and_no_more(world: World) -> None:
    world.errors["pay"] = [Refused("no")]
    begin().attempt()
    assert world.log == ["look", "hold", "held", "pay", "free", "compensated: refused_here"]
    assert Saga.objects.get().status == "compensated"


def test_a_refusal_by_our_own_state_compensates_the_step_too(world: World) -> None:
    """The order was cancelled while it was being paid: the money must come back."""
    world.errors["paid"] = [Refused("cancelled")]
    begin().attempt()
    assert world.log == [*DONE, "refund", "free", "compensated: refused_here"]


def test_an_unknown_outcome_is_asked_again_and_never_compensated(world: World) -> None:
    world.errors["pay"] = [OutcomeUnknown("lost"), OutcomeUnknown("lost again")]
    saga = begin()
    assert not saga.attempt()
    resume(saga)
    assert resume(saga).status == "completed"
    assert world.log == ["look", "hold", "held", "pay", "pay", "pay", "paid"]


def test_a_bug_in_a_step_is_not_a_refusal(world: World) -> None:
    world.errors["pay"] = [ZeroDivisionError()]
    saga = begin()
    saga.attempt()
    assert Saga.objects.get().status == "running"
    assert resume(saga).status == "completed"


def test_a_timeout_compensates_the_step_that_may_have_happened(world: World) -> None:
    world.errors["pay"] = [OutcomeUnknown("lost")]
    saga = begin()
    Saga.objects.update(created_at=timezone.now() - timedelta(hours=2))
    saga.refresh_from_db()
    saga.attempt()
    assert world.log[-3:] == ["refund", "free", "compensated: unresolved"]


def test_a_compensation_that_fails_is_tried_until_it_works(world: World) -> None:
    world.errors["pay"] = [Refused("no")]
    world.errors["free"] = [OutcomeUnknown("down")] * 3
    saga = begin()
    saga.attempt()
    for _ in range(3):
        saga = resume(saga)
    assert saga.status == "compensated"
    assert world.log.count("free") == 4
    assert saga.failure["code"] == "refused_here"


@pytest.mark.parametrize("dies_in", ["look", "hold", "held", "pay", "paid"])
def test_a_crash_anywhere_is_resumed(world: World, dies_in: str) -> None:
    world.errors[dies_in] = [Died()]
    saga = begin()
    with pytest.raises(Died):
        saga.attempt()
    assert resume(saga).status == "completed"
    assert [*dict.fromkeys(world.log)] == DONE


@pytest.mark.parametrize("dies_in", ["refund", "free"])
def test_a_crash_while_compensating_is_resumed(world: World, dies_in: str) -> None:
    world.errors["paid"] = [Refused("cancelled")]
    world.errors[dies_in] = [Died()]
    saga = begin()
    with pytest.raises(Died):
        saga.attempt()
    assert resume(saga).status == "compensated"


def test_nobody_drives_what_another_holds(world: World) -> None:
    saga = begin()
    assert Saga.claim(saga.pk) is None


def test_a_driver_that_lost_its_lease_stops_at_once(world: World) -> None:
    late = begin()
    assert resume(late).status == "completed"
    world.log.clear()
    assert not late.attempt()
    assert world.log == ["look", "hold", "held"]  # "held" is rolled back


def test_a_crash_after_a_read_only_step_compensates_the_next_step_too(world: World) -> None:
    """The position after a read-only step is not stored: the step behind it may have had its
    effect, which was never compensated if the read-only step then failed."""
    world.errors["hold"] = [Died()]
    saga = begin()
    with pytest.raises(Died):
        saga.attempt()
    world.errors["look"] = [Refused("no longer")]
    assert resume(saga).status == "compensated"
    assert world.log == ["look", "hold", "look", "free", "compensated: refused_here"]


def test_an_unknown_outcome_is_one_entry_of_the_log_however_often_it_is_repeated(
    world: World,
) -> None:
    """A saga without a timeout grew its row with each attempt."""
    world.errors["pay"] = [OutcomeUnknown("lost")] * 5
    saga = begin()
    saga.attempt()
    for _ in range(4):
        saga = resume(saga)
    assert [(entry.step, entry.times) for entry in saga.entries] == [
        ("look", 1),
        ("hold", 1),
        ("pay", 5),
    ]


@dataclass
class Newer:
    order: str
    added: int = 7


def newer(**stored: Any) -> Saga:
    saga = begin()
    Saga.objects.filter(pk=saga.pk).update(data=stored)
    definition._definitions["test"] = replace(definition.named("test"), data=Newer)
    return resume(saga)


def test_the_row_of_an_older_release_gets_the_defaults_of_new_fields(world: World) -> None:
    assert newer(order="1").data == {"order": "1", "added": 7}


def test_a_field_that_this_release_does_not_know_stays_in_the_row(world: World) -> None:
    """An older process in a rolling update deleted what the newer one needs."""
    assert newer(order="1", added=8, of_tomorrow=9).data == {
        "order": "1",
        "added": 8,
        "of_tomorrow": 9,
    }


def test_a_row_that_lacks_a_field_is_an_error_that_names_it(world: World) -> None:
    saga = newer(added=8)
    assert (saga.state, saga.error) == ("waiting", "UnreadableData: the data of test lack order")
    assert world.log == []


def test_the_sagas_of_an_object_are_found_by_an_index(world: World) -> None:
    """An order's story and the customer's timeline read the whole table."""
    key = begin().key
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # a small table is scanned for good reason
            cursor.execute("SET LOCAL enable_seqscan = off")
    plan = Saga.objects.filter(key=key).explain()
    assert "SEARCH" in plan or "Index Cond: (key =" in plan


def test_nothing_starts_outside_a_transaction(world: World, transactional_db: None) -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        driver.start(definition.named("test"), uuid4(), Nothing(), claimed=True)


def test_the_story_tells_what_is_still_to_come(world: World) -> None:
    world.errors["pay"] = [OutcomeUnknown("lost"), Refused("no")]
    world.errors["free"] = [OutcomeUnknown("down")]
    saga = begin()
    saga.attempt()
    told = [(step.name, step.state) for step in story.of(saga.key)]
    assert told == [("look", "done"), ("hold", "done"), ("pay", "unknown"), ("pay", "to do")]

    resume(saga)
    told = [(step.name, step.state) for step in story.of(saga.key)]
    assert told[-4:-2] == [("pay", "failed"), ("pay", "compensated")]
    assert told[-2:] == [("hold", "unknown"), ("hold", "to compensate")]


def test_a_story_of_a_saga_that_waits_for_a_worker(world: World) -> None:
    saga = begin(claimed=False)
    assert [step.state for step in story.of(saga.key)] == ["to do"] * 3
    assert Saga.due().get() == saga
