"""The AsyncAPI 3 document of all events: their publishers, subscribers and schemas.

Events travel as Celery's task messages (protocol 2); a list of events is the
task's one argument, in proto3's JSON form. The schemas come from the contracts' descriptors, the
descriptions from their comments.
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
from tools.flow import Flow, Publication

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
# The parts of a descriptor whose comments are in the document, by their field numbers.
PARTS = {
    "FileDescriptorProto": {4: "message_type", 5: "enum_type"},
    "DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type"},
    "EnumDescriptorProto": {2: "value"},
}
HEADERS: Schema = {
    "type": "object",
    "description": "The headers of Celery's message protocol 2.",
    "properties": {
        "task": {"const": TASK},
        "id": {"type": "string", "format": "uuid", "description": "The event's id."},
    },
    "required": ["task", "id"],
}


def document(flow: Flow, contracts: FileDescriptorSet) -> Schema:
    """Return the document. The contracts must have their source info, for the comments."""
    comments = dict(_comments(contracts))
    types = [descriptor_pool.Default().FindMessageTypeByName(event.type) for event in flow.events]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Events of the shop",
            "version": "1",
            "description": "The events between the contexts, generated from the contracts and the "
            "code: `manage.py asyncapi --write`.",
        },
        "defaultContentType": "application/json",
        "channels": {event.type: _channel(event) for event in flow.events},
        "operations": {
            **{f"publish.{event.type}": _operation("send", event.type) for event in flow.events},
            **{
                f"{handler}.{event.name}": _operation("receive", event.type)
                for event in flow.events
                for handler in event.handlers
            },
        },
        "components": {
            "messages": {event.type: _message(event, comments) for event in flow.events},
            "schemas": {"headers": HEADERS}
            | schemas([events_pb2.Event.DESCRIPTOR, *types], comments),
        },
    }


def _channel(event: Publication) -> Schema:
    exchange = {"name": EVENTS, "type": "topic", "durable": True, "vhost": "/"}
    return {
        "address": event.type,
        "title": f"{event.publisher} publishes {event.name}",
        "messages": {event.name: {"$ref": f"#/components/messages/{event.type}"}},
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


def _message(event: Publication, comments: Comments) -> Schema:
    handlers = ", ".join(event.handlers) or "no handler"
    published = f"Published by {event.publisher}, subscribed to by {handlers}."
    description = [comments.get(event.type, ""), published]
    data = {
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"#/components/schemas/{event.type}"},
    }
    envelope = {
        "allOf": [{"$ref": f"#/components/schemas/{events_pb2.Event.DESCRIPTOR.full_name}"}],
        "properties": {"type": {"const": event.type}, "data": data},
    }
    events = {"type": "array", "items": envelope, "minItems": 1, "maxItems": MAX_BATCH}
    return {
        "name": event.type,
        "title": event.name,
        "description": "\n\n".join(filter(None, description)),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/headers"},
        "correlationId": {"location": "$message.payload#/0/0/0/correlationid"},
        "payload": {
            "type": "array",
            "description": "The task's arguments, of which a list of events is the only one; its "
            "keyword arguments; and Celery's own options.",
            "items": [
                {"type": "array", "items": [events], "minItems": 1, "maxItems": 1},
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
    """Return the JSON schemas of messages and of all that they contain, by their full names."""
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
    """Return the field with a map's values, or None if the field is not a map."""
    entry = field.message_type
    return entry.fields[1] if entry and entry.GetOptions().map_entry else None


def _object(message: Descriptor, comments: Comments) -> Schema:
    """Return the schema of a message as `to_json` writes it, with all fields without presence."""
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
    if "$ref" in schema:  # keywords beside a $ref are ignored
        return {"allOf": [schema], "description": comments[name]}
    return schema | {"description": comments[name]}


def _comments(contracts: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """Yield the full name and the comment of each message and field.

    A location is a path of field numbers and indexes of the file's descriptor: (4, 0, 2, 1) is the
    second field (2) of the first message (4).
    """
    for file in contracts.file:
        for place in file.source_code_info.location:
            name = _name(file, list(place.path))
            text = place.leading_comments or place.trailing_comments
            if name and text:
                yield name, re.sub(r"\s+", " ", text).strip()


def _name(file: Any, path: list[int]) -> str:
    """Return the full name of a message, an enum, a field or a value; "" for anything else."""
    names, one = [file.package], file
    for kind, index in zip(path[::2], path[1::2], strict=False):
        parts = PARTS.get(one.DESCRIPTOR.name, {})
        if kind not in parts:
            return ""
        one = getattr(one, parts[kind])[index]
        names.append(one.name)
    return ".".join(names) if path and len(path) % 2 == 0 else ""
