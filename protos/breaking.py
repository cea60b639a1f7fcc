"""Refuses a contract that would break those who hold the released one: `make lint` runs this.

The contracts are compared with protos/released.json by the rules of `buf breaking` in its category
WIRE_JSON, as far as they mean something in proto3. Stricter than there: no file, service, method,
message or enum may go at all; a field's type and presence must stay the same, not only compatible;
an idempotency level may be raised, and only that. And one rule more: a method stays where its
google.api.http annotation put it. Whatever is not released yet may change, and adding is free.

With --release, today's contracts become the released ones: `make release-contracts`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from google.api.annotations_pb2 import http
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.protobuf.json_format import MessageToJson, Parse

from protos.generate import PROTOS, protoc

RELEASED = PROTOS / "released.json"
LEVELS = ("IDEMPOTENCY_UNKNOWN", "IDEMPOTENT", "NO_SIDE_EFFECTS")  # from weak to strong


class Reserved(NamedTuple):
    """What a message or an enum must not use again."""

    numbers: list[range]
    names: set[str]


def contracts(*options: str) -> FileDescriptorSet:
    """Today's contracts, from their sources. Options are the compiler's."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "contracts"
        protoc(*options, f"--descriptor_set_out={file}")
        return FileDescriptorSet.FromString(file.read_bytes())


def released() -> FileDescriptorSet:
    """The contracts that others hold."""
    return Parse(RELEASED.read_text(), FileDescriptorSet())


def breaking(was: FileDescriptorSet, now: FileDescriptorSet) -> Iterator[str]:
    """One line for everything in `now` that breaks those who hold `was`."""
    files = {file.name: file for file in now.file}
    yield from _each({file.name: file for file in was.file}, files, _file)


def _each(
    was: dict[str, Any], now: dict[str, Any], compare: Callable[[str, Any, Any], Iterator[str]]
) -> Iterator[str]:
    for name, one in was.items():
        if name in now:
            yield from compare(name, one, now[name])
        else:
            yield f"{name}: removed"


def _in(scope: str, items: Iterable[Any]) -> dict[str, Any]:
    return {f"{scope}.{item.name}": item for item in items}


def _changes(name: str, was: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for facet, value in was.items():
        if now[facet] != value:
            yield f"{name}: {facet} was {value}, is {now[facet]}"


def _file(name: str, was: FileDescriptorProto, now: FileDescriptorProto) -> Iterator[str]:
    if was.package != now.package:  # then every name in it is another
        yield f"{name}: package was {was.package}, is {now.package}"
        return
    scope = was.package
    yield from _each(_in(scope, was.service), _in(scope, now.service), _service)
    yield from _each(_in(scope, was.message_type), _in(scope, now.message_type), _message)
    yield from _each(_in(scope, was.enum_type), _in(scope, now.enum_type), _enum)


def _service(name: str, was: ServiceDescriptorProto, now: ServiceDescriptorProto) -> Iterator[str]:
    yield from _each(_in(name, was.method), _in(name, now.method), _method)


def _method(name: str, was: MethodDescriptorProto, now: MethodDescriptorProto) -> Iterator[str]:
    yield from _changes(name, _signature(was), _signature(now))
    if LEVELS.index(_level(now)) < LEVELS.index(_level(was)):
        yield f"{name}: idempotency_level was {_level(was)}, is {_level(now)}"
    for place in sorted(_places(was) - _places(now)):
        yield f"{name}: no longer at {place}"


def _signature(method: MethodDescriptorProto) -> dict[str, str]:
    asks = "stream " if method.client_streaming else ""
    answers = "stream " if method.server_streaming else ""
    return {
        "request": asks + method.input_type.removeprefix("."),
        "response": answers + method.output_type.removeprefix("."),
    }


def _level(method: MethodDescriptorProto) -> str:
    return MethodOptions.IdempotencyLevel.Name(method.options.idempotency_level)


def _places(method: MethodDescriptorProto) -> set[str]:
    """Such as `PUT /internal/reservations/{order_id}, body "*"`."""
    if not method.options.HasExtension(http):
        return set()
    rule = method.options.Extensions[http]
    return {
        f"{one.WhichOneof('pattern').upper()} {getattr(one, one.WhichOneof('pattern'))}, "
        f'body "{one.body}"'
        for one in (rule, *rule.additional_bindings)
    }


def _message(name: str, was: DescriptorProto, now: DescriptorProto) -> Iterator[str]:
    reserved = _reserved(now, inclusive=False)
    today = {field.number: field for field in now.field}
    for field in was.field:
        label = f"{name}.{field.name} ({field.number})"
        if field.number in today:
            yield from _changes(label, _facets(was, field), _facets(now, today[field.number]))
        else:
            yield from _gone(label, field, now.field, reserved)
    yield from _unreserved(name, _reserved(was, inclusive=False), reserved)
    yield from _each(_in(name, _nested(was)), _in(name, _nested(now)), _message)
    yield from _each(_in(name, was.enum_type), _in(name, now.enum_type), _enum)


def _nested(message: DescriptorProto) -> list[DescriptorProto]:
    return [nested for nested in message.nested_type if not nested.options.map_entry]


def _facets(message: DescriptorProto, field: FieldDescriptorProto) -> dict[str, str]:
    """All of a field that its number stands for."""
    return {
        "name": field.name,
        "JSON name": field.json_name,
        "type": _type(message, field),
        "cardinality": _cardinality(field),
        "oneof": _oneof(message, field),
    }


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    for entry in message.nested_type:
        if entry.options.map_entry and field.type_name.endswith(f".{message.name}.{entry.name}"):
            key, value = entry.field
            return f"map<{_type(entry, key)}, {_type(entry, value)}>"
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return field.type_name.removeprefix(".") or scalar


def _cardinality(field: FieldDescriptorProto) -> str:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return "repeated"
    # A message's presence is always known: there the word says nothing.
    known = field.proto3_optional and field.type != FieldDescriptorProto.TYPE_MESSAGE
    return "optional" if known else "single"


def _oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if field.HasField("oneof_index") and not field.proto3_optional:
        return message.oneof_decl[field.oneof_index].name
    return "none"


def _enum(name: str, was: EnumDescriptorProto, now: EnumDescriptorProto) -> Iterator[str]:
    reserved = _reserved(now, inclusive=True)
    for value in was.value:
        label = f"{name}.{value.name} ({value.number})"
        names = sorted(other.name for other in now.value if other.number == value.number)
        if not names:
            yield from _gone(label, value, now.value, reserved)
        elif value.name not in names:
            yield f"{label}: name was {value.name}, is {' and '.join(names)}"
    yield from _unreserved(name, _reserved(was, inclusive=True), reserved)


def _gone(label: str, gone: Any, left: Iterable[Any], reserved: Reserved) -> Iterator[str]:
    """A field, or an enum's value, whose number is no longer there."""
    moved = {one.name: one.number for one in left}.get(gone.name)
    if moved is not None:
        yield f"{label}: number was {gone.number}, is {moved}"
        return
    kept = {
        "number": any(gone.number in numbers for numbers in reserved.numbers),
        "name": gone.name in reserved.names,
    }
    missing = [f"its {what}" for what, is_kept in kept.items() if not is_kept]
    if missing:
        yield f"{label}: removed without reserving {' and '.join(missing)}"


def _reserved(one: DescriptorProto | EnumDescriptorProto, *, inclusive: bool) -> Reserved:
    numbers = [range(span.start, span.end + inclusive) for span in one.reserved_range]
    return Reserved(numbers, set(one.reserved_name))


def _unreserved(name: str, was: Reserved, now: Reserved) -> Iterator[str]:
    for span in was.numbers:
        first, last = span.start, span.stop - 1
        if not any(first in numbers and last in numbers for numbers in now.numbers):
            numbers = f"{first}" if first == last else f"{first} to {last}"
            yield f"{name}: {numbers} no longer reserved"
    for lost in sorted(was.names - now.names):
        yield f'{name}: "{lost}" no longer reserved'


def main() -> None:
    if "--release" in sys.argv:
        RELEASED.write_text(MessageToJson(contracts(), indent=2) + "\n")
        return
    broken = list(breaking(released(), contracts()))
    if broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
