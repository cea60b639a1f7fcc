"""Append events and read them back."""

from __future__ import annotations

import json
from typing import Any

from django.db import IntegrityError, connection
from django.db.models import Max, Subquery
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce
from google.protobuf.message import Message

from protos import events_pb2
from protos.upcasters import present_version
from shop.events import wakeup
from shop.events.envelope import Json, source_of, to_json, type_of
from shop.events.models import CurrentTransaction, Event
from shop.refusal import Conflict
from shop.telemetry import correlation
from shop.telemetry.tracing import traceparent


class VersionConflict(Conflict):
    """Somebody else appended to the stream first."""

    code = "version_conflict"


def record(message: Message, *, stream: str, expected_version: int | None = None) -> Event:
    """Append a fact to a stream such as "order-<id>", in the transaction that makes it true.

    With `expected_version`, the version of the stream's last event (0 for a new stream), the
    append is refused with VersionConflict where the stream has gone on; the transaction must
    then be rolled back. Raises RuntimeError outside a transaction.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"record({type_of(message)}) outside a transaction")
    before: Any = _last_version(stream)
    if expected_version is not None:
        before = Event.objects.filter(stream=stream).aggregate(last=Max("version"))["last"] or 0
        if before != expected_version:
            raise VersionConflict(f"{stream} is at version {before}, not {expected_version}")
    why = correlation.current()
    try:
        event = Event.objects.create(
            transaction_id=CurrentTransaction(),
            source=source_of(type_of(message)),
            stream=stream,
            version=before + 1,
            type=type_of(message),
            data=to_json(message),
            data_version=present_version(type_of(message)),
            correlation_id=why.id,
            causation_id=why.causation,
            actor=why.actor,
            traceparent=traceparent(),
        )
    except IntegrityError:
        raise VersionConflict(f"somebody else has appended to {stream}") from None
    # The database knows them; Django asks for them when they are wanted.
    del event.transaction_id, event.version
    wakeup.on_commit()
    return event


def _last_version(stream: str) -> Combinable:
    """As a part of the statement that appends."""
    last = Event.objects.filter(stream=stream).order_by("-version").values("version")[:1]
    return Coalesce(Subquery(last), 0)


def envelope(event: Event) -> events_pb2.Event:
    """A stored event as it travels."""
    message = events_pb2.Event(
        specversion="1.0",
        id=str(event.id),
        source=event.source,
        type=event.type,
        subject=event.stream,
        sequence=event.version,
        datacontenttype="application/json",
        data=json.dumps(event.data),
        dataversion=event.data_version,
        correlationid=event.correlation_id,
        causationid=event.causation_id,
        actor=event.actor,
        traceparent=event.traceparent,
        position=position(event),
    )
    message.time.FromDatetime(event.recorded_at)
    return message


def position(event: Event) -> events_pb2.Position:
    """Where a stored event stands in its database's commit order."""
    return events_pb2.Position(transaction=event.transaction_id, id=event.position)


def cloud_event(event: Event) -> Json:
    """A stored event in the JSON format of CloudEvents 1.0, for those outside the shop. `sequence`
    sorts as text, as its extension wants it; the position is the store's own affair."""
    attributes = to_json(envelope(event))
    del attributes["position"]
    attributes |= {"sequence": f"{event.version:010}", "data": event.data}
    return {name: value for name, value in attributes.items() if value != ""}
