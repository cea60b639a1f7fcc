"""The event store, which is also the outbox; deliveries; and the positions of readers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.db import connection, models
from django.db.models import F, Value
from django.db.models.expressions import Func
from django.db.models.lookups import GreaterThan, LessThan
from django.utils import timezone
from django.utils.functional import cached_property
from uuid_utils.compat import uuid7

from severable.events import transactions
from severable.jobs.models import Job

ENVELOPE_SIZE = 1000  # bytes sent with an event's data, at most


class OldestOpenTransaction(Func):
    """The number below which all transactions have ended: no more events can appear there."""

    output_field = models.BigIntegerField()

    def as_sql(self, *args: Any, **extra: Any) -> Any:
        return transactions.OLDEST_OPEN[connection.vendor], ()


def _pair(*values: Any) -> Func:
    expressions = (v if isinstance(v, F) else Value(v) for v in values)
    return Func(*expressions, function="", output_field=models.BigIntegerField())


# True if no open transaction can still append an event before this one.
IS_SETTLED = LessThan(F("transaction_id"), OldestOpenTransaction())


class EventQuerySet(models.QuerySet["Event"]):
    def committed_after(self, transaction_id: int, position: int) -> EventQuerySet:
        """Return the events that were committed after a position, in commit order.

        The order of ids is not the order of commits on PostgreSQL: reading by `id > last` loses
        events. The pair (transaction, id), below the oldest transaction that is still open, loses
        none. Recipe: github.com/eugene-khyst/postgresql-event-sourcing.
        """
        return self.all_after(transaction_id, position).filter(IS_SETTLED)

    def all_after(self, transaction_id: int, position: int) -> EventQuerySet:
        """Return also the events among which open transactions may still add others."""
        # Neither database uses the index for `a > x OR a = x AND b > y`: each page would scan the
        # table from its start.
        later = GreaterThan(
            _pair(F("transaction_id"), F("position")), _pair(transaction_id, position)
        )
        return self.filter(later).order_by("transaction_id", "position")


class Event(models.Model):
    """A fact, appended in the transaction that made it true, and never changed."""

    position = models.BigAutoField(primary_key=True)
    transaction_id = models.BigIntegerField(help_text="The number of the transaction")
    id = models.UUIDField(unique=True, default=uuid7)
    source = models.CharField(max_length=50, help_text="The context that published it")
    stream = models.CharField(max_length=100)
    version = models.PositiveIntegerField(help_text="Number in its stream, from 1")
    type = models.CharField(max_length=100)
    data = models.JSONField()
    correlation_id = models.CharField(max_length=64)
    causation_id = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=100, blank=True)
    traceparent = models.CharField(max_length=55, blank=True)
    recorded_at = models.DateTimeField(default=timezone.now)

    objects = EventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "version"], name="events_event_version")
        ]
        indexes = [
            models.Index(fields=["transaction_id", "position"], name="events_event_commit_order"),
            models.Index(fields=["correlation_id"], name="events_event_correlation"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stream}/{self.version}"

    @cached_property
    def data_as_json(self) -> str:
        """The data as sent to other processes."""
        return json.dumps(self.data)


def first_bytes(events: Iterable[Event], max_bytes: int) -> list[Event]:
    """Return the first events whose total size is at most `max_bytes`; at least one, if any."""
    first, size = list[Event](), 0
    for event in events:
        size += len(event.data_as_json) + ENVELOPE_SIZE
        if first and size > max_bytes:
            break
        first.append(event)
    return first


def prepared(row: models.Model, fields: Iterable[models.Field[Any, Any]]) -> list[Any]:
    """Return a row's values as parameters of an INSERT."""
    return [f.get_db_prep_save(getattr(row, f.attname), connection) for f in fields]


class TransactionOffset(models.Model):
    """The number added to transaction ids in one run of a PostgreSQL server. There is one row."""

    server = models.CharField(max_length=100, help_text="The server and its start")
    value = models.BigIntegerField()

    def __str__(self) -> str:
        return self.server


class Delivery(Job):
    """The delivery of an event to a handler, marked done in the handler's transaction."""

    event_id = models.UUIDField()
    handler = models.CharField(max_length=100)
    context = models.CharField(max_length=50)
    type = models.CharField(max_length=100)
    stream = models.CharField(max_length=100, db_index=True)
    version = models.PositiveIntegerField(
        default=0, db_default=0, help_text="The event's number in its stream"
    )
    event = models.JSONField(help_text="The event as received, with its envelope")
    received_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta(Job.Meta):
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["event_id", "handler"], name="events_delivery_once")
        ]

    def __str__(self) -> str:
        return f"{self.type} to {self.handler}"

    @property
    def queue(self) -> str:
        return self.context


class Subscription(models.Model):
    """The position up to which a handler's feed has been compared with its deliveries; or, under
    the name "replay <handler>", the position of a replay."""

    handler = models.CharField(max_length=100, primary_key=True)
    transaction_id = models.BigIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    missed = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Events that the broker has lost so far"
    )
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.handler


class MalformedMessage(models.Model):
    """A message from a queue that is not a task of this project."""

    queue = models.CharField(max_length=50)
    body = models.TextField()
    headers = models.JSONField()
    error = models.TextField()
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "malformed message"

    def __str__(self) -> str:
        return f"{self.queue}: {self.error}"[:100]


class RefusedEvent(models.Model):
    """An event that the broker rejected and the relay skipped. It is not lost: the reconciler
    delivers it from the feed."""

    event_id = models.UUIDField(unique=True)
    type = models.CharField(max_length=100)
    stream = models.CharField(max_length=100)
    error = models.TextField()
    refused_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.type} {self.stream}"


class RelayPosition(models.Model):
    """The position up to which this database's events have been published."""

    name = models.CharField(max_length=50, primary_key=True)
    transaction_id = models.BigIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name

    def advance_to(self, event: Event) -> bool:
        """Store that everything up to this event is published. Return False, and change nothing,
        if another relay has advanced the position meanwhile."""
        unchanged = RelayPosition.objects.filter(
            name=self.name, transaction_id=self.transaction_id, position=self.position
        )
        changes = {"transaction_id": event.transaction_id, "position": event.position}
        self.transaction_id, self.position = changes.values()
        return bool(unchanged.update(**changes))
