"""The AsyncAPI document says how events really look, and names every one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import ParseDict
from jsonschema import Draft7Validator, ValidationError

from apps.users.models import User
from severable.events import handlers
from severable.events.envelope import to_json
from severable.events.models import Event
from severable.events.relay import Relay
from tests.conftest import ClientFor
from tests.machine import settle
from tests.test_contracts import compiled
from tools import asyncapi
from tools.management.commands import asyncapi as command
from tools.management.commands.flow import read

DOCUMENT = json.loads(command.DOCUMENT.read_text())
MESSAGES = DOCUMENT["components"]["messages"]

CONTRACT = """
syntax = "proto3";
package mail;
import "google/protobuf/timestamp.proto";

// What somebody wrote.
message Letter {
  int64 stamp = 1;  // in cents
  optional string note = 2;
  map<string, Seal> seals = 3;
  repeated Kind kinds = 4;
  bytes scan = 5;
  double weight = 6;
  google.protobuf.Timestamp at = 7;
  oneof way { string road = 8; uint64 rail = 9; }
  Letter reply = 10;
  message Seal { bool broken = 1; }
}
enum Kind { LETTER = 0; PARCEL = 1; }
"""


def check(value: Any, schema: Any) -> None:
    """Raises ValidationError."""
    Draft7Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


class Wire:
    """Takes what the relay publishes."""

    def __init__(self) -> None:
        self.published: list[Any] = []

    def publish(self, body: Any, **properties: Any) -> None:
        self.published.append((json.loads(json.dumps(body)), properties))


@pytest.mark.django_db
def test_every_event_of_a_journey_is_as_the_document_says(
    alice: User, mug: Any, staff: User, client_for: ClientFor
) -> None:
    """A shape that the contract does not have, a name that the wire does not carry."""
    client = client_for(alice)

    def order(token: str) -> Any:
        payment = {"method": "card", "token": token}
        body = {"items": [{"sku": "MUG", "quantity": 1}], "payment": payment}
        return client.post("/api/orders", body).json()

    order("tok_declined")
    client.post(f"/api/orders/{order('tok_visa')['id']}/cancel")
    client_for(staff).post(f"/api/orders/{order('tok_visa')['id']}/ship")
    client.patch(f"/api/users/{alice.id}", {"name": "Grüße"})
    settle()
    _publish_and_check()


def _publish_and_check() -> None:
    wire, seen = Wire(), set()
    for event in Event.objects.all():
        Relay()._send(wire, [event])  # type: ignore[arg-type]
        body, properties = wire.published[-1]
        message = MESSAGES[event.type]
        channel = DOCUMENT["channels"][properties["routing_key"]]
        assert channel["address"] == event.type
        assert channel["bindings"]["amqp"]["exchange"]["name"] == properties["exchange"]
        check(properties["headers"], message["headers"])
        check(body, message["payload"])
        data = message["payload"]["items"][0]["items"][0]["items"]["properties"]["data"]
        check(json.loads(body[0][0][0]["data"]), data["contentSchema"])
        assert body[0][0][0]["correlationid"]
        seen.add(event.type)
    assert len(seen) >= 13, seen


def test_every_event_and_every_handler_is_there() -> None:
    published = read().events
    assert set(DOCUMENT["channels"]) == set(MESSAGES) == {event.type for event in published}
    operations = DOCUMENT["operations"]
    receive = {name for name, one in operations.items() if one["action"] == "receive"}
    here = {f"{h.name}.{h.type.partition('.')[2]}" for h in handlers.registered()}
    assert here <= receive
    # In other placements, deployments hear what ends the answers that they keep.
    assert {name.partition(".")[0] for name in receive - here} == {"cache"}
    assert len(operations) == len(published) + len(receive)


def test_every_reference_leads_somewhere() -> None:
    def walk(one: Any) -> None:
        if isinstance(one, dict):
            if "$ref" in one:
                found: Any = DOCUMENT
                for part in one["$ref"].removeprefix("#/").split("/"):
                    found = found[part]
            for value in one.values():
                walk(value)
        elif isinstance(one, list):
            for value in one:
                walk(value)

    walk(DOCUMENT)


@pytest.fixture(scope="module")
def letter(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A message with everything that a contract may have, and its schemas."""
    folder: Path = tmp_path_factory.mktemp("contract")
    pool = descriptor_pool.DescriptorPool()
    known = descriptor_pool.Default().FindFileByName("google/protobuf/timestamp.proto")
    pool.AddSerializedFile(known.serialized_pb)
    for file in compiled(folder, CONTRACT).file:
        pool.Add(file)
    return pool.FindMessageTypeByName("mail.Letter")


FULL = {
    "stamp": str(2**62),
    "note": "hi",
    "seals": {"red": {"broken": True}},
    "kinds": ["PARCEL"],
    "scan": "AAE=",
    "weight": "NaN",
    "at": "2026-11-22T10:00:00Z",
    "rail": "7",
    "reply": {"stamp": "1"},
}


@pytest.mark.parametrize("content", [{}, FULL], ids=["empty", "full"])
def test_every_kind_of_field_is_as_proto3s_json_has_it(letter: Any, content: Any) -> None:
    schema = {
        "$ref": "#/components/schemas/mail.Letter",
        "components": {"schemas": asyncapi.schemas([letter], {})},
    }
    message = ParseDict(content, message_factory.GetMessageClass(letter)())
    Draft7Validator(schema).validate(to_json(message))
    for wrong in ({"stamp": 1}, {"kinds": ["BIKE"]}, {"seals": {"red": {"broken": 3}}}):
        with pytest.raises(ValidationError):
            Draft7Validator(schema).validate(to_json(message) | wrong)


def test_comments_of_contracts_are_descriptions() -> None:
    total = DOCUMENT["components"]["schemas"]["order.OrderPaid"]["properties"]["total"]
    assert total["description"] == "minor units"
    assert "notifications.tell_paid" in MESSAGES["order.OrderPaid"]["description"]


def test_a_stale_document_is_refused_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "asyncapi.json"
    monkeypatch.setattr(command, "DOCUMENT", file)
    with pytest.raises(CommandError, match=r"run `manage\.py asyncapi --write`"):
        call_command("asyncapi", "--check")
    call_command("asyncapi", "--write")
    call_command("asyncapi", "--check")
    assert json.loads(file.read_text()) == DOCUMENT
