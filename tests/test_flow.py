"""The picture of calls and events between contexts is complete, and is what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from google.protobuf.descriptor import Descriptor

from severable.events import handlers
from tools import flow
from tools.management.commands import flow as command

CONTEXTS = settings.TOPOLOGY.contexts
PACKAGES = [context.package for context in CONTEXTS.values() if context.package]
IMPORTS = """
from protos import order_pb2 as pb, user_pb2
from protos.user_pb2_grpc import UserServiceStub
from severable.events import append
from severable.rpc import stub
"""
LINE = re.compile(
    r"flowchart LR"
    r"|    none\(\[no subscriber\]\)"
    r"|    [a-z]+ -->\|[A-Za-z]+(<br/>[A-Za-z]+)*\| [a-z]+"
    r"|    [a-z]+ -\.->\|[A-Za-z]+(<br/>[A-Za-z]+)*\| [a-z]+"
)


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "flow.md"
    file.write_text(f"Before.\n{flow.BEGIN}\nstale\n{flow.END}\nAfter.\n")
    monkeypatch.setattr(command, "DOCUMENT", file)
    return file


def flow_of(folder: Path, code: str, *subscribed: handlers.Handler) -> flow.Flow:
    """Return the flow of a shop in which orders has this code, and the other contexts have none."""
    (folder / "orders").mkdir()
    (folder / "orders" / "services.py").write_text(IMPORTS + code)
    return flow.read(folder, settings.TOPOLOGY, subscribed)


def printed(*options: str) -> str:
    out = StringIO()
    call_command("flow", *options, stdout=out)
    return out.getvalue()


def events_of(package: str) -> Iterator[str]:
    """A contract's events: the messages that are no part of a call."""
    file = import_module(f"protos.{package}_pb2").DESCRIPTOR
    methods = [m for service in file.services_by_name.values() for m in service.methods]
    parts = {
        part
        for m in methods
        for message in (m.input_type, m.output_type)
        for part in within(message)
    }
    for message in file.message_types_by_name.values():
        others = (o for o in file.message_types_by_name.values() if o is not message)
        is_part = any(message in within(other) for other in others)
        if message not in parts and not is_part:
            yield message.full_name


def within(message: Descriptor) -> set[Descriptor]:
    """A message and all that it consists of."""
    inner = [field.message_type for field in message.fields if field.message_type]
    return {message}.union(*(within(part) for part in inner))


@pytest.mark.parametrize("context", CONTEXTS)
def test_calls_are_those_that_the_topology_lets_be(context: str) -> None:
    callees = {call.callee for call in command.read().calls if call.caller == context}
    assert callees == set(CONTEXTS[context].calls)


def test_every_call_is_in_a_contract() -> None:
    for call in command.read().calls:
        package = CONTEXTS[call.callee].package
        services = import_module(f"protos.{package}_pb2").DESCRIPTOR.services_by_name.values()
        assert call.method in {method.name for service in services for method in service.methods}


def test_every_event_of_a_contract_is_published_by_its_context() -> None:
    """Else the contract promises what never happens, or the picture leaves it out."""
    promised = {
        (settings.TOPOLOGY.context_of(package).name, event)
        for package in PACKAGES
        for event in events_of(package)
    }
    assert {(event.publisher, event.type) for event in command.read().events} == promised


def test_every_handler_is_shown() -> None:
    shown = [name for event in command.read().events for name in event.handlers]
    caches = [
        f"cache.{event}" for entry in settings.TOPOLOGY.cached for event in entry.invalidated_by
    ]
    assert sorted(shown) == sorted([*(each.name for each in handlers.registered()), *caches])


@pytest.mark.parametrize(
    "code",
    [
        "def f(): stub(UserServiceStub).GetUser(1)",
        "def f(): return stub(UserServiceStub).GetUser.future(1).result",
        "def f():\n users = stub(UserServiceStub)\n users.GetUser(1)\ndef g(users): users.all()",
    ],
)
def test_a_call_is_found_however_it_is_written(tmp_path: Path, code: str) -> None:
    assert flow_of(tmp_path, code).calls == (flow.Call("orders", "users", "GetUser"),)


@pytest.mark.parametrize(
    "code",
    [
        "def f(): append(pb.OrderPaid(order_id=1), stream='order-1')",
        "def made() -> pb.OrderPaid: ...\ndef f(): append(made(), stream='order-1')",
        "def f():\n paid = pb.OrderPaid()\n append(paid, stream='order-1')",
    ],
)
def test_an_event_is_found_however_it_is_written(tmp_path: Path, code: str) -> None:
    assert flow_of(tmp_path, code).events == (flow.Publication("orders", "order.OrderPaid", ()),)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("def f(): ask(stub(UserServiceStub))", "orders/services.py:6: this call is not stub("),
        ("def f(x): stub(x).GetUser(1)", "orders/services.py:6: this call is not stub("),
        (
            "def f(event): append(event, stream='s')",
            "services.py:6: this event is not append(",
        ),
    ],
)
def test_a_call_or_event_in_another_form_is_an_error(
    tmp_path: Path, code: str, complaint: str
) -> None:
    with pytest.raises(flow.FlowError, match=re.escape(complaint)):
        flow_of(tmp_path, code)


def test_a_handler_of_an_unpublished_event_is_an_error(tmp_path: Path) -> None:
    waiting = handlers.Handler("users.wait", "users", "order.OrderPaid", print, ())
    with pytest.raises(flow.FlowError, match=r"users\.wait subscribes to order\.OrderPaid"):
        flow_of(tmp_path, "", waiting)


def test_an_event_without_subscriber_is_shown(tmp_path: Path) -> None:
    found = flow_of(tmp_path, "def f(): append(pb.OrderPaid(), stream='order-1')")
    assert "orders publishes OrderPaid to no handler" in flow.text(found)
    assert "    orders -.->|OrderPaid| none" in flow.mermaid(found)


def test_the_text_names_calls_and_handlers() -> None:
    lines = printed().splitlines()
    assert "orders calls inventory: Release, Reserve" in lines
    assert "payments publishes PaymentRefunded to orders.cancel_refunded" in lines


def test_the_picture_is_well_formed() -> None:
    lines = printed("--mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    assert [line for line in lines if not LINE.fullmatch(line)] == []


def test_a_stale_picture_is_refused_until_it_is_written(document: Path) -> None:
    with pytest.raises(CommandError, match=r"run `manage\.py flow --write`"):
        printed("--check")
    printed("--write")
    assert printed("--check") == ""
    assert document.read_text().startswith(f"Before.\n{flow.BEGIN}\n```mermaid\nflowchart LR\n")
    assert document.read_text().endswith(f"\n```\n{flow.END}\nAfter.\n")


def test_a_document_without_a_place_for_the_picture_is_refused(document: Path) -> None:
    document.write_text("Nothing.\n")
    with pytest.raises(CommandError, match=re.escape(flow.BEGIN)):
        printed("--write")
    assert document.read_text() == "Nothing.\n"


def test_handlers_that_are_not_loaded_are_missed(settings: Any) -> None:
    """A deployment that runs only some contexts would show them as deaf."""
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "orders")
    with pytest.raises(CommandError, match="SHOP_PLACEMENT=one"):
        printed()


def test_the_committed_picture_is_what_the_code_does() -> None:
    assert printed("--check") == ""
