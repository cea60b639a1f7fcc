"""Append events and read them back."""

from __future__ import annotations

from functools import cache

from django.db import IntegrityError, connection
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind

from severable.errors import Conflict
from severable.events import notify, transactions
from severable.events.envelope import Json, source_of, to_json, type_of
from severable.events.models import Event, prepared
from severable.protos import events_pb2
from severable.telemetry import correlation
from severable.telemetry.tracing import message_attributes, span, traceparent

# Bytes of an event's data. The broker and the feed carry several events of this size at once.
MAX_DATA = 256 * 1024


class EventTooLarge(ValueError):
    """An event's data is larger than MAX_DATA: store large data elsewhere and refer to it."""


class VersionConflict(Conflict):
    """The stream has another version than expected."""

    code = "version_conflict"


def append(message: Message, *, stream: str) -> Event:
    """Append a fact to a stream such as "order-<id>", in the transaction that makes it true.

    Raises RuntimeError outside a transaction, EventTooLarge, and VersionConflict if another
    transaction has appended to the stream meanwhile: then this one must be rolled back.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"append({type_of(message)}) outside a transaction")
    attributes = message_attributes("publish", type_of(message))
    with span(f"append {type_of(message)}", "", SpanKind.PRODUCER, attributes):
        return _appended(message, stream)


def _appended(message: Message, stream: str) -> Event:
    why = correlation.current()
    event = Event(
        source=source_of(type_of(message)),
        stream=stream,
        type=type_of(message),
        data=to_json(message),
        correlation_id=why.id,
        causation_id=why.causation,
        actor=why.actor,
        traceparent=traceparent(),
    )
    size = len(event.data_as_json)
    if size > MAX_DATA:
        raise EventTooLarge(
            f"{event.type} for {stream} has {size} bytes of data; at most {MAX_DATA} are allowed"
        )
    try:
        _append(event)
    except IntegrityError:
        raise VersionConflict(f"another transaction has appended to {stream}") from None
    notify.notify_on_commit()
    return event


def _append(event: Event) -> None:
    """Insert an event; the database sets the transaction number and the next version."""
    with connection.cursor() as cursor:
        statement = _insert(connection.vendor)
        values = [event.stream, *prepared(event, _COLUMNS)]
        cursor.execute(statement, values)
        appended = cursor.fetchone()
        if appended is None:  # the first event of this run of the server
            transactions.begin()
            cursor.execute(statement, values)
            appended = cursor.fetchone()
        event.position, event.transaction_id, event.version = appended


_SET_BY_THE_DATABASE = ("position", "transaction_id", "version")
_COLUMNS = [f for f in Event._meta.concrete_fields if f.name not in _SET_BY_THE_DATABASE]


@cache
def _insert(vendor: str) -> str:
    # Django would build this statement for every event, which takes longer than to execute it.
    columns = [field.attname for field in _COLUMNS]
    number, of_this_run = transactions.OWN[vendor]
    return f"""
        INSERT INTO {Event._meta.db_table} (transaction_id, version, {", ".join(columns)})
        SELECT {number}, (
            SELECT COALESCE(MAX(version), 0) + 1 FROM {Event._meta.db_table} WHERE stream = %s
        ), {", ".join(["%s"] * len(columns))} {of_this_run}
        RETURNING position, transaction_id, version"""  # noqa: S608


def as_json(event: Event) -> Json:
    """Return a stored event in the JSON form of its envelope; it equals `to_json(envelope(event))`,
    at a tenth of the price."""
    return {
        "specversion": "1.0",
        "id": str(event.id),
        "source": event.source,
        "type": event.type,
        "subject": event.stream,
        "sequence": str(event.version),
        "datacontenttype": "application/json",
        "data": event.data_as_json,
        "correlationid": event.correlation_id,
        "causationid": event.causation_id,
        "actor": event.actor,
        "traceparent": event.traceparent,
        "time": event.recorded_at.isoformat().replace("+00:00", "Z"),
        "position": {"transaction": str(event.transaction_id), "id": str(event.position)},
    }


def envelope(event: Event) -> events_pb2.Event:
    """Return a stored event with its envelope."""
    message = events_pb2.Event(
        specversion="1.0",
        id=str(event.id),
        source=event.source,
        type=event.type,
        subject=event.stream,
        sequence=event.version,
        datacontenttype="application/json",
        data=event.data_as_json,
        correlationid=event.correlation_id,
        causationid=event.causation_id,
        actor=event.actor,
        traceparent=event.traceparent,
        position=position(event),
    )
    message.time.FromDatetime(event.recorded_at)
    return message


def position(event: Event) -> events_pb2.Position:
    """Return the position of a stored event in its database's commit order."""
    return events_pb2.Position(transaction=event.transaction_id, id=event.position)


def cloud_event(event: Event) -> Json:
    """Return a stored event in the JSON format of CloudEvents 1.0, for readers outside the shop.
    `sequence` sorts as text, as its extension requires; the position is internal."""
    attributes = to_json(envelope(event))
    del attributes["position"]
    attributes |= {"sequence": f"{event.version:010}", "data": event.data}
    return {name: value for name, value in attributes.items() if value != ""}
