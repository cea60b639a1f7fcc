"""The AsyncAPI 3 document of all events: who tells them, who hears them, and how they look.

Events travel as Celery's task messages (protocol 2); the event is the task's one argument, in
proto3's JSON form. The shapes come from the contracts' descriptors, the words from their comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from severable.events.delivery import TASK
from severable.events.queues import EVENTS
from severable.events.relay import MAX_BATCH
from severable.protos import events_pb2
from tools.flow import Flow, Told

Schema = dict[str, Any]
Comments = dict[str, str]

INTEGERS: Schema = {"type": "string", "pattern": "^-?[0-9]+$", "format": "int64"}
NUMBERS: Schema = {"type": ["number", "string"]}  # "NaN", "Infinity"
SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.CPPTYPE_INT64: INTEGERS,
    FieldDescriptor.CPPTYPE_UINT64: INTEGERS,
    FieldDescriptor.CPPTYPE_DOUBLE: NUMBERS,
    FieldDescriptor.CPPTYPE_FLOAT: NUMBERS,
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9.]+s$"},
}
# The parts of a descriptor that have comments worth telling, by their field numbers.
PARTS = {
    "FileDescriptorProto": {4: "message_type", 5: "enum_type"},
    "DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type"},
    "EnumDescriptorProto": {2: "value"},
}
HEADERS: Schema = {
    "type": "object",
    "description": "Those of Celery's message protocol 2.",
    "properties": {
        "task": {"const": TASK},
        "id": {"type": "string", "format": "uuid", "description": "The event's id."},
    },
    "required": ["task", "id"],
}


def document(flow: Flow, contracts: FileDescriptorSet) -> Schema:
    """The document. The contracts must have their source info, for the comments."""
    comments = dict(_comments(contracts))
    types = [descriptor_pool.Default().FindMessageTypeByName(told.type) for told in flow.events]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of the shop",
            "version": "1",
            "description": "What the shop's contexts tell each other. Made from the contracts and "
            "the code: `manage.py asyncapi --write`.",
        },
        "defaultContentType": "application/json",
        "channels": {told.type: _channel(told) for told in flow.events},
        "operations": {
            **{f"record.{told.type}": _operation("send", told.type) for told in flow.events},
            **{
                f"{handler}.{told.name}": _operation("receive", told.type)
                for told in flow.events
                for handler in told.handlers
            },
        },
        "components": {
            "messages": {told.type: _message(told, comments) for told in flow.events},
            "schemas": {"headers": HEADERS}
            | schemas([events_pb2.Event.DESCRIPTOR, *types], comments),
        },
    }


def _channel(told: Told) -> Schema:
    exchange = {"name": EVENTS, "type": "topic", "durable": True, "vhost": "/"}
    return {
        "address": told.type,
        "title": f"{told.teller} tells {told.name}",
        "messages": {told.name: {"$ref": f"#/components/messages/{told.type}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _operation(action: str, event: str) -> Schema:
    name = event.rpartition(".")[2]
    channel = f"#/channels/{event}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"}],
    }


def _message(told: Told, comments: Comments) -> Schema:
    heard = ", ".join(told.handlers) or "nobody"
    words = [comments.get(told.type, ""), f"Told by {told.teller}, heard by {heard}."]
    data = {
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"#/components/schemas/{told.type}"},
    }
    event = {
        "allOf": [{"$ref": f"#/components/schemas/{events_pb2.Event.DESCRIPTOR.full_name}"}],
        "properties": {"type": {"const": told.type}, "data": data},
    }
    together = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_BATCH}
    return {
        "name": told.type,
        "title": told.name,
        "description": "\n\n".join(filter(None, words)),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/headers"},
        "correlationId": {"location": "$message.payload#/0/0/0/correlationid"},
        "payload": {
            "type": "array",
            "description": "The task's arguments, of which the events that travel together are the "
            "only one; its keyword arguments; and what Celery puts beside them.",
            "items": [
                {"type": "array", "items": [together], "minItems": 1, "maxItems": 1},
                {"type": "object", "maxProperties": 0},
                {"type": "object"},
            ],
            "minItems": 3,
            "maxItems": 3,
        },
    }


def schemas(
    messages: Iterable[Descriptor | EnumDescriptor], comments: Comments
) -> dict[str, Schema]:
    """The JSON schema of each message and of all that they consist of, by their full names."""
    left, found = list(messages), dict[str, Schema]()
    while left:
        one = left.pop()
        if one.full_name in found:
            continue
        schema = _enum(one) if isinstance(one, EnumDescriptor) else _object(one, comments)
        found[one.full_name] = _described(schema, comments, one.full_name)
        left += [] if isinstance(one, EnumDescriptor) else _parts(one)
    return dict(sorted(found.items()))


def _parts(message: Descriptor) -> Iterator[Descriptor | EnumDescriptor]:
    for field in message.fields:
        value = _map_value(field) or field
        part = value.message_type or value.enum_type
        if part is not None and part.full_name not in WELL_KNOWN:
            yield part


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The values of a map; None for what is none."""
    entry = field.message_type
    return entry.fields[1] if entry and entry.GetOptions().map_entry else None


def _object(message: Descriptor, comments: Comments) -> Schema:
    """A message as `to_json` writes it: fields without presence are always there."""
    return {
        "type": "object",
        "properties": {
            field.name: _described(_field(field), comments, field.full_name)
            for field in message.fields
        },
        "required": [field.name for field in message.fields if not field.has_presence],
    }


def _enum(enum: EnumDescriptor) -> Schema:
    return {"type": "string", "enum": [value.name for value in enum.values]}


def _field(field: FieldDescriptor) -> Schema:
    values = _map_value(field)
    if values:
        return {"type": "object", "additionalProperties": _value(values)}
    return {"type": "array", "items": _value(field)} if field.is_repeated else _value(field)


def _value(field: FieldDescriptor) -> Schema:
    part = field.message_type or field.enum_type
    if part is not None:
        return WELL_KNOWN.get(part.full_name) or {"$ref": f"#/components/schemas/{part.full_name}"}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return SCALARS[field.cpp_type]


def _described(schema: Schema, comments: Comments, name: str) -> Schema:
    if name not in comments:
        return dict(schema)
    if "$ref" in schema:  # beside a reference nothing else counts
        return {"allOf": [schema], "description": comments[name]}
    return schema | {"description": comments[name]}


def _comments(contracts: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """The comment of each message and field, by its full name.

    A place in a file is a path of field numbers and indexes of its descriptor: (4, 0, 2, 1) is
    the second field (2) of the first message (4).
    """
    for file in contracts.file:
        for place in file.source_code_info.location:
            name = _name(file, list(place.path))
            text = place.leading_comments or place.trailing_comments
            if name and text:
                yield name, re.sub(r"\s+", " ", text).strip()


def _name(file: Any, path: list[int]) -> str:
    """The full name of a message, an enum, a field or a value; "" for all else in a file."""
    names, one = [file.package], file
    for kind, index in zip(path[::2], path[1::2], strict=False):
        parts = PARTS.get(one.DESCRIPTOR.name, {})
        if kind not in parts:
            return ""
        one = getattr(one, parts[kind])[index]
        names.append(one.name)
    return ".".join(names) if path and len(path) % 2 == 0 else ""
