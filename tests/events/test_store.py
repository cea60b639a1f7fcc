"""The event store: what is recorded, in which order it is read, and what is refused."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from django.db import connection, transaction

from protos.order_pb2 import Line, OrderCreated, OrderShipped
from protos.user_pb2 import CreditChanged
from severable.errors import from_error
from severable.events.envelope import to_message
from severable.events.models import Event
from severable.events.store import VersionConflict, append, envelope
from severable.protos.events_pb2 import Position, ReadRequest
from severable.protos.events_pb2_grpc import EventFeedStub
from severable.rpc.client.stubs import stub
from severable.telemetry.correlation import Correlation, correlated
from tests.threads import together

CREATED = OrderCreated(order_id="o1", user_id=7, lines=[Line(sku="MUG", quantity=2)])


def read(**request: Any) -> list[Any]:
    return list(stub(EventFeedStub, "orders").Read(ReadRequest(source="orders", **request)).events)


ABSURD: dict[str, tuple[dict[str, Any], str]] = {
    "a limit below 0": ({"limit": -1}, "limit"),
    "the lowest limit": ({"limit": -(2**31)}, "limit"),
    "a limit below 0, of a stream": ({"limit": -1, "subject": "order-o1", "before": 9}, "limit"),
    "a transaction below 0": ({"after": Position(transaction=-1)}, "after"),
    "an id below 0": ({"after": Position(id=-(2**63))}, "after"),
    "a version below 0": ({"subject": "order-o1", "before": -1}, "before"),
    "a type with NUL": ({"types": ["order.\0"]}, "types"),
    "a stream with NUL": ({"subject": "order-\0", "before": 9}, "subject"),
    "types without end": ({"types": ["order.OrderPaid"] * 100_000}, "types"),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("request_", "field"), ABSURD.values(), ids=ABSURD)
def test_an_absurd_question_is_invalid(request_: dict[str, Any], field: str) -> None:
    """A slice of -1 rows was a 500."""
    with pytest.raises(grpc.RpcError) as refused:
        read(**request_)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    refusal = from_error(refused.value)
    assert refusal
    assert refusal.facts == {"field": field}


HUGE: dict[str, dict[str, Any]] = {
    "a huge limit": {"limit": 2**31 - 1},
    "a huge version": {"subject": "order-o1", "before": 2**63 - 1},
}


@pytest.mark.django_db
@pytest.mark.parametrize("request_", HUGE.values(), ids=HUGE)
def test_a_huge_question_is_answered(request_: dict[str, Any]) -> None:
    with transaction.atomic():
        append(CREATED, stream="order-o1")

    assert len(read(**request_)) <= 1


def values(event: Event) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in Event._meta.concrete_fields}


@pytest.mark.django_db
def test_an_event_says_what_why_and_for_whom() -> None:
    with correlated(Correlation("request-1", causation="event-0", actor="user-7")):
        event = append(CREATED, stream="order-o1")
    assert (event.source, event.type, event.version) == ("orders", "order.OrderCreated", 1)
    assert (event.correlation_id, event.causation_id, event.actor) == (
        "request-1",
        "event-0",
        "user-7",
    )


@pytest.mark.django_db
def test_an_event_comes_back_as_the_message_that_it_was() -> None:
    """64-bit numbers are strings in proto3's JSON: they must survive the store."""
    message = CreditChanged(user_id=7, amount=-(2**62), balance=2**62, reason="Grüße ✓")
    event = append(message, stream="user-7")
    event.refresh_from_db()
    assert to_message(envelope(event)) == message


@pytest.mark.django_db
def test_what_record_returns_is_what_is_stored() -> None:
    """The statement is ours, not Django's: each value must land in its own column."""
    with correlated(Correlation("request-1", causation="event-0", actor="user-7")):
        recorded = values(append(CREATED, stream="order-o1"))
    assert recorded == values(Event.objects.get())


@pytest.mark.django_db
def test_fields_of_tomorrow_are_tolerated() -> None:
    """A deployment that is a version behind must not fail on what it does not know."""
    event = append(CREATED, stream="order-o1")
    event.data["invented_later"] = 1
    assert to_message(envelope(event)) == CREATED


@pytest.mark.django_db
def test_versions_count_in_their_stream() -> None:
    versions = [append(CREATED, stream=stream).version for stream in ("a", "a", "b", "a")]
    assert versions == [1, 2, 1, 3]


@pytest.mark.django_db(transaction=True)
def test_of_sixteen_who_append_at_once_nobody_overwrites() -> None:
    """An update that is lost: two appends to one version, or a hole where one was refused."""

    def append_often(number: int) -> tuple[int, int]:
        won = lost = 0
        for turn in range(12):
            stream = f"s{(number + turn) % 4}"
            try:
                with transaction.atomic():
                    append(CREATED, stream=stream)
                won += 1
            except VersionConflict:
                lost += 1
        return won, lost

    outcomes = together(16, append_often)
    won, lost = (sum(each) for each in zip(*outcomes, strict=True))
    assert won + lost == 16 * 12
    ends = []
    for number in range(4):
        versions = Event.objects.filter(stream=f"s{number}").order_by("version")
        dense = list(versions.values_list("version", flat=True))
        assert dense == list(range(1, len(dense) + 1))
        ends.append(len(dense))
    assert sum(ends) == won


@pytest.mark.django_db(transaction=True)
def test_nothing_is_recorded_outside_a_transaction() -> None:
    """A fact recorded apart from what makes it true may be true without being recorded."""
    with pytest.raises(RuntimeError, match="outside a transaction"):
        append(CREATED, stream="a")


@pytest.mark.django_db
def test_the_feed_goes_on_after_any_position() -> None:
    for stream in ("a", "b", "c"):
        append(CREATED, stream=stream)
    append(OrderShipped(order_id="o1"), stream="a")
    append(CreditChanged(user_id=7), stream="user-7")
    # What this transaction has not committed nobody reads on a database with snapshots.
    if connection.vendor == "postgresql":
        pytest.skip("one transaction cannot read its own events here")
    everything = read()
    assert [e.subject for e in everything] == ["a", "b", "c", "a"]
    assert [e.subject for e in read(after=everything[1].position)] == ["c", "a"]
    assert [e.subject for e in read(types=["order.OrderShipped"])] == ["a"]
    assert [e.subject for e in read(limit=2)] == ["a", "b"]


@pytest.mark.django_db(transaction=True)
def test_a_reader_misses_nothing_that_commits_late() -> None:
    """Reading by `id > last` loses what took its id early and committed late."""
    written: list[str] = []
    seen: list[str] = []
    writers = 4

    def write(number: int) -> None:
        try:
            for count in range(25):
                try:
                    with transaction.atomic():
                        append(CREATED, stream=f"w{number}-{count}")
                        if count % 5 == 4:
                            raise ZeroDivisionError  # some roll back, and leave a gap
                    written.append(f"w{number}-{count}")
                except ZeroDivisionError:
                    pass
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    after = Position()
    while any(t.is_alive() for t in threads) or len(seen) < len(written):
        for event in read(after=after, limit=7):
            seen.append(event.subject)
            after = event.position
    for thread in threads:
        thread.join()
    assert len(written) == 80
    assert sorted(seen) == sorted(written)
    assert Event.objects.count() == 80
