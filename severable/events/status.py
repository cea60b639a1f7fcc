"""The state of events in this deployment: what is not published, not compared, not delivered.

No query here reads rows that are done, which are most of every table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import grpc
from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from severable.events import feed, handlers, transactions
from severable.events.models import Delivery, Event, RefusedEvent, RelayPosition, Subscription
from severable.events.rpc import MAX_EVENTS
from severable.events.subscriptions import orphaned
from severable.jobs import status as job_status
from severable.jobs.status import Jobs
from severable.protos import events_pb2

LONG_TRANSACTION = 5.0  # seconds
OLDEST_TRANSACTION = """
    SELECT pid, coalesce(nullif(application_name, ''), 'a session'), state,
        round(extract(epoch FROM clock_timestamp() - xact_start), 1)::float
    FROM pg_stat_activity
    WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
    ORDER BY xact_start LIMIT 1
"""

RENUMBER = "check that the database's clock is right, then run `manage.py events renumber`"


@dataclass(frozen=True)
class Backlog:
    """The number of events not processed yet, at most MAX_EVENTS, and the age of the oldest."""

    events: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class OldestDelivery:
    """The delivery that has waited longest."""

    handler: str
    event_id: str
    stream: str
    seconds: float
    attempts: int
    error: str


@dataclass(frozen=True)
class Deliveries:
    """The deliveries that are not done."""

    waiting: int
    overdue: int  # those of the waiting that are due and not claimed
    parked: dict[str, int]  # by handler
    oldest: OldestDelivery | None


@dataclass(frozen=True)
class Transaction:
    """A session of the database server with an open transaction that has written."""

    pid: int
    application: str
    state: str
    seconds: float


@dataclass(frozen=True)
class Status:
    """`relays` is by name, "relay" for that to the broker; those in `ahead` have positions that
    this database has not assigned. `subscriptions` is by handler; None if its feed does not
    respond, and `unanswered` has the error. `missed` counts, by handler, the events that the broker
    has lost so far, and `refused` those that it rejected; all of them are delivered from the feed.
    `orphaned` names subscriptions without a handler."""

    deployment: str
    relays: dict[str, Backlog]
    ahead: list[str]
    subscriptions: dict[str, Backlog | None]
    unanswered: dict[str, str]
    missed: dict[str, int]
    deliveries: Deliveries
    jobs: dict[str, Jobs]  # all kinds but deliveries
    oldest_transaction: Transaction | None  # it holds back all later events
    refused: int
    orphaned: list[str]

    def problems(self, lag: float) -> Iterator[str]:
        """Yield what needs an operator: all that is parked, does not respond, or is behind by more
        than `lag` seconds."""
        for handler, count in self.deliveries.parked.items():
            yield f"{handler}: {count} parked"
        for name in self.orphaned:
            forget = f"`manage.py subscriptions --forget {name}`"
            yield f"{name}: its handler does not exist any more; {forget} if that is intended"
        if self.refused:
            yield f"relay: {self.refused} events rejected by the broker; dismiss them in the admin"
        for name, behind in self.relays.items():
            if behind.seconds > lag:
                yield f"{name} is {behind.seconds:.0f} s behind"
        for name in self.ahead:
            yield f"{name}: its position was not assigned by this database; {RENUMBER}"
        for handler, unread in self.subscriptions.items():
            if unread is None:
                yield f"{handler}: its feed does not respond: {self.unanswered.get(handler, '')}"
            elif unread.seconds > lag:
                yield f"{handler} is {unread.seconds:.0f} s behind its feed"
        oldest = self.deliveries.oldest
        if oldest and oldest.seconds > lag:
            yield f"{oldest.handler}: event {oldest.event_id} has waited for {oldest.seconds:.0f} s"
        for kind, jobs in self.jobs.items():
            yield from jobs.problems(kind, lag)
        oldest_open = self.oldest_transaction
        if oldest_open and oldest_open.seconds > LONG_TRANSACTION:
            yield (
                f"{oldest_open.application} (pid {oldest_open.pid}) holds back the feed: its "
                f"transaction has been open for {oldest_open.seconds:.0f} s ({oldest_open.state})"
            )

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def status() -> Status:
    """Return the state of this deployment's events. Calls the feeds of its subscriptions."""
    feeds = _feeds()
    return Status(
        deployment=settings.DEPLOYMENT.name,
        relays=relays(),
        ahead=ahead(),
        subscriptions=_answered(feeds),
        unanswered={name: answer for name, answer in feeds.items() if isinstance(answer, str)},
        missed=missed(),
        deliveries=deliveries(),
        jobs=jobs(),
        oldest_transaction=oldest_transaction(),
        refused=RefusedEvent.objects.count(),
        orphaned=orphaned(),
    )


def relays() -> dict[str, Backlog]:
    """Return what is committed here and not published, by relay."""
    positions = {"relay": RelayPosition()} | {r.name: r for r in RelayPosition.objects.all()}
    return {name: _unpublished(relay) for name, relay in positions.items()}


def ahead() -> list[str]:
    """Return the relays whose position this database has not assigned: they would skip events."""
    positions = list(RelayPosition.objects.all())  # first: they advance meanwhile
    upcoming = transactions.upcoming()
    return [relay.name for relay in positions if relay.transaction_id >= upcoming]


def subscriptions() -> dict[str, Backlog | None]:
    """Return what has not been compared with the deliveries, by handler."""
    return _answered(_feeds())


def _feeds() -> dict[str, Backlog | str]:
    """Return the same, or an error text if a feed does not respond."""
    return {
        handler.name: answer
        for source, subscribers in feed.by_source(handlers.registered()).items()
        for handler, answer in _behind(source, subscribers)
    }


def _answered(feeds: dict[str, Backlog | str]) -> dict[str, Backlog | None]:
    return {name: None if isinstance(each, str) else each for name, each in feeds.items()}


def missed() -> dict[str, int]:
    """Return how many events the broker has lost so far, by handler."""
    names = {handler.name for handler in handlers.registered()}
    found = Subscription.objects.filter(handler__in=names)
    return dict(found.values_list("handler", "missed"))


def deliveries() -> Deliveries:
    """Return the deliveries that wait and those that are parked."""
    waiting = Delivery.objects.filter(state=Delivery.State.WAITING)
    parked = Delivery.objects.filter(state=Delivery.State.PARKED).order_by("handler")
    oldest = waiting.order_by("received_at").first()
    return Deliveries(
        waiting=waiting.count(),
        overdue=waiting.filter(due_at__lte=Now()).count(),
        parked=dict(parked.values_list("handler").annotate(Count("pk"))),
        oldest=_oldest(oldest) if oldest else None,
    )


def jobs() -> dict[str, Jobs]:
    """Return the state of every kind of job but deliveries, by name."""
    found = job_status.kinds().items()
    return {name: job_status.jobs(kind) for name, kind in found if kind is not Delivery}


def oldest_transaction() -> Transaction | None:
    """Return this server's oldest open transaction. Those of other roles are visible only to
    members of pg_read_all_stats."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_TRANSACTION)
        row = cursor.fetchone()
    return Transaction(*row) if row else None


def _unpublished(relay: RelayPosition) -> Backlog:
    behind = Event.objects.all_after(relay.transaction_id, relay.position)
    oldest = behind.first()
    return Backlog(behind[:MAX_EVENTS].count(), _age(oldest.recorded_at)) if oldest else Backlog()


def _oldest(delivery: Delivery) -> OldestDelivery:
    return OldestDelivery(
        handler=delivery.handler,
        event_id=str(delivery.event_id),
        stream=delivery.stream,
        seconds=_age(delivery.received_at),
        attempts=delivery.attempts,
        error=delivery.error,
    )


def _behind(
    source: str, subscribers: list[handlers.Handler]
) -> Iterator[tuple[handlers.Handler, Backlog | str]]:
    positions = feed.positions()
    types = handlers.types_of(*(handler.name for handler in subscribers))
    found: dict[feed.Position, list[events_pb2.Event]] = {}  # most have the same position
    for handler in subscribers:
        after = positions[handler.name]
        try:
            if after not in found:
                found[after] = _unread(source, types, after)
            mine = handlers.types_of(handler.name)
            yield handler, _backlog([event for event in found[after] if event.type in mine])
        except grpc.RpcError as error:
            yield handler, str(error.details())


def _unread(source: str, types: set[str], after: feed.Position) -> list[events_pb2.Event]:
    """Return the events after a position, at most MAX_EVENTS."""
    events, after, more = feed.read(source, types, after)
    while more and len(events) < MAX_EVENTS:
        page, after, more = feed.read(source, types, after, limit=MAX_EVENTS - len(events))
        events += page
    return events


def _backlog(events: list[events_pb2.Event]) -> Backlog:
    return Backlog(len(events), _age(feed.time_of(events[0]))) if events else Backlog()


def _age(since: datetime) -> float:
    return round((timezone.now() - since).total_seconds(), 1)
