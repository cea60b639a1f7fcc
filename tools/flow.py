"""Calls and events between contexts, read from the code of the contexts and their handlers.

The code is parsed, not run: a call is `stub(XStub).Method(...)`, an event `append(SomeEvent(...))`.
A call or an event in another form is an error, so that the flow is complete.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from severable.events.handlers import Handler
from severable.topology import Topology

STUBS = ("severable.rpc.stub", "severable.caching.cached_stub")
APPEND = "severable.events.append"
NONE = "none"  # the node for events without a subscriber
BEGIN, END = "<!-- flow -->", "<!-- /flow -->"


class FlowError(Exception):
    """A call, event or handler that cannot be part of the flow. The text has its place."""


@dataclass(frozen=True, order=True)
class Call:
    """A method of another context's contract that a context calls."""

    caller: str
    callee: str
    method: str


@dataclass(frozen=True, order=True)
class Publication:
    """A type of event, the context that publishes it and the handlers that subscribe to it."""

    publisher: str
    type: str  # such as "order.OrderPaid"
    handlers: tuple[str, ...]  # such as "inventory.sell_what_was_held"

    @property
    def name(self) -> str:
        """Return the type without its package, such as "OrderPaid"."""
        return self.type.rpartition(".")[2]

    @property
    def subscribers(self) -> tuple[str, ...]:
        """Return the contexts of its handlers."""
        return tuple(sorted({handler.partition(".")[0] for handler in self.handlers}))


@dataclass(frozen=True)
class Flow:
    """All calls and all events."""

    calls: tuple[Call, ...]
    events: tuple[Publication, ...]


def read(apps: Path, topology: Topology, handlers: Iterable[Handler]) -> Flow:
    """Return the flow between the contexts whose code is under a folder.

    Raises FlowError for a call or an event in another form, and for a handler of an event that no
    context publishes.
    """
    calls: set[Call] = set()
    appended: set[tuple[str, str]] = set()
    for context in topology.contexts:
        for source in _sources(apps / context):
            for package, method in source.calls():
                calls.add(Call(context, topology.context_of(package).name, method))
            appended |= {(context, type) for type in source.events()}
    subscribed = _by_type(handlers, {type for _, type in appended})
    events = {Publication(context, type, subscribed.get(type, ())) for context, type in appended}
    return Flow(tuple(sorted(calls)), tuple(sorted(events)))


def text(flow: Flow) -> str:
    """Return the flow as text for a terminal."""
    calls = [
        f"{caller} calls {callee}: {', '.join(methods)}" for caller, callee, methods in _calls(flow)
    ]
    events = [
        f"{event.publisher} publishes {event.name} to {', '.join(event.handlers) or 'no handler'}"
        for event in flow.events
    ]
    return "\n".join([*calls, "", *events])


def mermaid(flow: Flow) -> str:
    """Return the flow as a mermaid flowchart: calls are solid, events dotted."""
    calls = [
        f"    {caller} -->|{'<br/>'.join(methods)}| {callee}"
        for caller, callee, methods in _calls(flow)
    ]
    events = [
        f"    {publisher} -.->|{'<br/>'.join(names)}| {subscriber}"
        for publisher, subscriber, names in _events(flow)
    ]
    return "\n".join(["flowchart LR", f"    {NONE}([no subscriber])", *calls, *events])


def embedded(document: str, flow: Flow) -> str:
    """Return a document with the mermaid flowchart between its two markers.

    Raises FlowError if a marker is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise FlowError(f"there must be a line {BEGIN} and, below it, a line {END}")
    return f"{before}{begin}\n```mermaid\n{mermaid(flow)}\n```\n{end}{after}"


def _calls(flow: Flow) -> Iterator[tuple[str, str, list[str]]]:
    for (caller, callee), calls in groupby(flow.calls, lambda call: (call.caller, call.callee)):
        yield caller, callee, [call.method for call in calls]


def _events(flow: Flow) -> Iterator[tuple[str, str, list[str]]]:
    edges = sorted(
        (event.publisher, subscriber, event.name)
        for event in flow.events
        for subscriber in event.subscribers or (NONE,)
    )
    for (publisher, subscriber), group in groupby(edges, lambda edge: edge[:2]):
        yield publisher, subscriber, [name for _, _, name in group]


def _by_type(handlers: Iterable[Handler], appended: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for handler in sorted(handlers, key=lambda handler: handler.name):
        if handler.type not in appended:
            raise FlowError(f"{handler.name} subscribes to {handler.type}, which is not published")
        found[handler.type] = (*found.get(handler.type, ()), handler.name)
    return found


def _sources(context: Path) -> Iterator[_Source]:
    for file in sorted(context.rglob("*.py")):
        if file.parent.name != "migrations":
            yield _Source(file)


class _Source:
    """One file of code."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tree = ast.parse(file.read_text())
        self._imports = dict(_imports(self._tree))

    def calls(self) -> Iterator[tuple[str, str]]:
        """Yield the proto package and the method of every call to another context."""
        for call in self._calls_of(*STUBS):
            package, is_stub, _ = self._name(call.args[0]).partition("_pb2_grpc.")
            methods = self._attributes(call)
            if not is_stub or not methods:
                raise self._unseen(call, "call", "stub(XStub).Method(...)")
            yield from ((package.removeprefix("protos."), method) for method in methods)

    def events(self) -> Iterator[str]:
        """Yield the type of every event that is appended."""
        for call in self._calls_of(APPEND):
            classes = self._messages(call.args[0])
            if not classes:
                raise self._unseen(call, "event", "append(SomeEvent(...))")
            yield from (name.removeprefix("protos.").replace("_pb2.", ".") for name in classes)

    def _calls_of(self, *functions: str) -> Iterator[ast.Call]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and self._name(node.func) in functions:
                yield node

    def _name(self, node: ast.AST | None) -> str:
        """Return the full name of an expression: "protos.order_pb2.OrderPaid" of `pb.OrderPaid`."""
        if isinstance(node, ast.Name):
            return self._imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._name(node.value)}.{node.attr}"
        return ""

    def _attributes(self, value: ast.Call) -> set[str]:
        """Return the attributes of a value that the code uses, directly or through a variable."""
        found = {node.attr for node in self._all_attributes if node.value is value}
        for function in self._functions:
            names = {name for name, assigned in _assigned(function) if assigned is value}
            found |= {
                node.attr
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in names
            }
        return found

    def _messages(self, node: ast.AST) -> set[str]:
        """Return the messages that an expression may be: a constructor's, a variable's, or those
        of a function in this file with an annotated return type."""
        made = node if isinstance(node, ast.Call) else None
        names = {self._name(made.func)} if made else set()
        for function in self._functions:
            if function.name in names:
                names.add(self._name(function.returns))
            if isinstance(node, ast.Name) and node in ast.walk(function):
                for name, value in _assigned(function):
                    if name == node.id and isinstance(value, ast.Call):
                        names |= self._messages(value)
        return {name for name in names if name.startswith("protos.")}

    @cached_property
    def _functions(self) -> list[ast.FunctionDef]:
        return [node for node in ast.walk(self._tree) if isinstance(node, ast.FunctionDef)]

    @cached_property
    def _all_attributes(self) -> list[ast.Attribute]:
        return [node for node in ast.walk(self._tree) if isinstance(node, ast.Attribute)]

    def _unseen(self, node: ast.Call, what: str, instead: str) -> FlowError:
        place = "/".join(self._file.parts[-3:])
        return FlowError(f"{place}:{node.lineno}: this {what} is not {instead}")


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, alias.name if alias.asname else first


def _assigned(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
