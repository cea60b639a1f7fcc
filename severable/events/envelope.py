"""Conversions between an event's envelope and the contract's message."""

from __future__ import annotations

import json
from uuid import UUID

from django.conf import settings
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from severable.protos import events_pb2
from severable.topology import contracts

Json = dict[str, object]


def type_of(message: type[Message] | Message) -> str:
    """Return an event's type on the wire and in the store, such as "order.OrderPaid"."""
    name: str = message.DESCRIPTOR.full_name
    return name


def source_of(event_type: str) -> str:
    """Return the context that publishes a type: "orders" for "order.OrderPaid"."""
    name: str = settings.TOPOLOGY.context_of(event_type.partition(".")[0]).name
    return name


def to_json(message: Message) -> Json:
    """Return a message in proto3's JSON form, with the contract's field names and every field."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def from_json(event: object) -> events_pb2.Event:
    """Return an event from its JSON form. Raises ParseError if it is malformed."""
    try:
        if not isinstance(event, dict) or not event["type"] or not UUID(event["id"]):
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ParseError(f"{str(event)[:100]!r} has no valid id and type") from None
    return ParseDict(event, events_pb2.Event(), ignore_unknown_fields=True)


def to_message(event: events_pb2.Event) -> Message:
    """Return the contract's message that an event carries, without fields that are unknown here.

    Raises LookupError for a type that no contract here has.
    """
    contracts.load(event.type.partition(".")[0])
    descriptor = descriptor_pool.Default().FindMessageTypeByName(event.type)
    message: Message = message_factory.GetMessageClass(descriptor)()
    return ParseDict(json.loads(event.data), message, ignore_unknown_fields=True)
