"""The state of events in this deployment: what is not published, not compared, not delivered.

Nothing here reads what is settled, and that is most of every table: all figures come from the
end of an index or from rows that wait.
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
from severable.events.subscriptions import gone as subscriptions_gone
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

RENUMBER = "see that the database's clock is right, then run `manage.py events renumber`"


@dataclass(frozen=True)
class Lag:
    """The number of events that are behind, at most MAX_EVENTS, and the age of the oldest."""

    events: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Waiting:
    """The delivery that has waited longest."""

    handler: str
    event_id: str
    stream: str
    seconds: float
    attempts: int
    error: str


@dataclass(frozen=True)
class Deliveries:
    """Those that are not done. Those that are nobody counts: there may be millions."""

    waiting: int
    overdue: int  # of those waiting: due by now, and nobody has taken them yet
    parked: dict[str, int]  # by handler
    oldest: Waiting | None


@dataclass(frozen=True)
class Transaction:
    """A session of the database server whose transaction has written, and is still open."""

    pid: int
    application: str
    state: str
    seconds: float


@dataclass(frozen=True)
class Status:
    """`relays` are by name: that to the broker is "relay"; those in `ahead` have positions that
    this database has not given. `subscriptions` are by handler; None if the context whose feed it
    is did not answer, and `unanswered` says why. `missed`, by handler, counts the events
    that the broker has lost so far: found in the feed, and delivered all the same. `refused` counts
    those that it has not taken from the relay; they are delivered from the feed, too. `gone` names
    subscriptions without a handler."""

    deployment: str
    relays: dict[str, Lag]
    ahead: list[str]
    subscriptions: dict[str, Lag | None]
    unanswered: dict[str, str]
    missed: dict[str, int]
    deliveries: Deliveries
    jobs: dict[str, Jobs]  # all other kinds: sagas, refunds, mails
    oldest_transaction: Transaction | None  # all events since its begin wait for its end
    refused: int
    gone: list[str]

    def problems(self, lag: float) -> Iterator[str]:
        """Yield what an operator should look at: all that is parked, silent, or behind by more
        seconds
        than `lag`."""
        for handler, count in self.deliveries.parked.items():
            yield f"{handler}: {count} parked"
        for name in self.gone:
            forget = f"`manage.py subscriptions --forget {name}`"
            yield f"{name}: its handler is gone; {forget} if that is meant"
        if self.refused:
            yield f"relay: {self.refused} events refused by the broker; dismiss them in the admin"
        for name, behind in self.relays.items():
            if behind.seconds > lag:
                yield f"{name} is {behind.seconds:.0f} s behind"
        for name in self.ahead:
            yield f"{name}: its position was not given by this database; {RENUMBER}"
        for handler, unread in self.subscriptions.items():
            if unread is None:
                yield f"{handler}: its feed does not answer: {self.unanswered.get(handler, '')}"
            elif unread.seconds > lag:
                yield f"{handler} is {unread.seconds:.0f} s behind its feed"
        oldest = self.deliveries.oldest
        if oldest and oldest.seconds > lag:
            yield f"{oldest.handler}: event {oldest.event_id} waits for {oldest.seconds:.0f} s"
        for kind, jobs in self.jobs.items():
            yield from jobs.problems(kind, lag)
        holding = self.oldest_transaction
        if holding and holding.seconds > LONG_TRANSACTION:
            yield (
                f"{holding.application} (pid {holding.pid}) holds the feed back: its transaction "
                f"has been open for {holding.seconds:.0f} s ({holding.state})"
            )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def status() -> Status:
    """Return the state of this deployment's events. It calls the contexts of its subscriptions."""
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
        gone=subscriptions_gone(),
    )


def relays() -> dict[str, Lag]:
    """Return what has been committed here and not been published, by each relay that ever ran."""
    reached = {"relay": RelayPosition()} | {r.name: r for r in RelayPosition.objects.all()}
    return {name: _unpublished(relay) for name, relay in reached.items()}


def ahead() -> list[str]:
    """The relays whose position this database has not given: they would pass over new events."""
    reached = list(RelayPosition.objects.all())  # first: they move on meanwhile
    upcoming = transactions.upcoming()
    return [relay.name for relay in reached if relay.transaction_id >= upcoming]


def subscriptions() -> dict[str, Lag | None]:
    """Return what each handler's feed has that has not been compared with its deliveries."""
    return _answered(_feeds())


def _feeds() -> dict[str, Lag | str]:
    """The same; a text says why a feed does not answer."""
    return {
        handler.name: answer
        for source, listeners in feed.by_source(handlers.registered()).items()
        for handler, answer in _behind(source, listeners)
    }


def _answered(feeds: dict[str, Lag | str]) -> dict[str, Lag | None]:
    return {name: None if isinstance(each, str) else each for name, each in feeds.items()}


def missed() -> dict[str, int]:
    """Return how many events the broker has lost so far, by the handler that waited for them."""
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
        oldest=_waiting(oldest) if oldest else None,
    )


def jobs() -> dict[str, Jobs]:
    """Return how every kind of job but deliveries gets on, by its name."""
    found = job_status.kinds().items()
    return {name: job_status.jobs(kind) for name, kind in found if kind is not Delivery}


def oldest_transaction() -> Transaction | None:
    """Return the transaction of this server that holds the feed back for longest. Other roles'
    are seen only by members of pg_read_all_stats."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_TRANSACTION)
        row = cursor.fetchone()
    return Transaction(*row) if row else None


def _unpublished(relay: RelayPosition) -> Lag:
    behind = Event.objects.beyond(relay.transaction_id, relay.position)
    oldest = behind.first()
    return Lag(behind[:MAX_EVENTS].count(), _age(oldest.recorded_at)) if oldest else Lag()


def _waiting(delivery: Delivery) -> Waiting:
    return Waiting(
        handler=delivery.handler,
        event_id=str(delivery.event_id),
        stream=delivery.stream,
        seconds=_age(delivery.received_at),
        attempts=delivery.attempts,
        error=delivery.error,
    )


def _behind(
    source: str, listeners: list[handlers.Handler]
) -> Iterator[tuple[handlers.Handler, Lag | str]]:
    reached = feed.reached()
    types = handlers.types_of(*(handler.name for handler in listeners))
    found: dict[feed.Position, list[events_pb2.Event]] = {}  # most have come equally far
    for handler in listeners:
        after = reached[handler.name]
        try:
            if after not in found:
                found[after] = _unread(source, types, after)
            mine = handlers.types_of(handler.name)
            yield handler, _lag([event for event in found[after] if event.type in mine])
        except grpc.RpcError as error:
            yield handler, str(error.details())


def _unread(source: str, types: set[str], after: feed.Position) -> list[events_pb2.Event]:
    """The events after a position, up to MAX_EVENTS."""
    events, after, more = feed.read(source, types, after)
    while more and len(events) < MAX_EVENTS:
        page, after, more = feed.read(source, types, after, limit=MAX_EVENTS - len(events))
        events += page
    return events


def _lag(events: list[events_pb2.Event]) -> Lag:
    return Lag(len(events), _age(feed.time(events[0]))) if events else Lag()


def _age(since: datetime) -> float:
    return round((timezone.now() - since).total_seconds(), 1)
