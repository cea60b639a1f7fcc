"""Calls and events between contexts, read from the code of the contexts and their handlers.

The code is read, not run: a call is `stub(XStub).Method`, an event is `record(SomeEvent(...))`.
What is written so that it cannot be seen is an error, so that the picture is whole.
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
RECORD = "severable.events.append"
BEGIN, END = "<!-- flow -->", "<!-- /flow -->"


class FlowError(Exception):
    """The flow cannot be seen whole. The text says where."""


@dataclass(frozen=True, order=True)
class Call:
    """A method of another context's contract that a context calls."""

    caller: str
    callee: str
    method: str


@dataclass(frozen=True, order=True)
class Told:
    """A type of event that a context records, and the names of the handlers that hear it."""

    teller: str
    type: str  # such as "order.OrderPaid"
    handlers: tuple[str, ...]  # such as "inventory.sell_what_was_held"

    @property
    def name(self) -> str:
        """The event without its package, such as "OrderPaid"."""
        return self.type.rpartition(".")[2]

    @property
    def hearers(self) -> tuple[str, ...]:
        """The contexts that hear it."""
        return tuple(sorted({handler.partition(".")[0] for handler in self.handlers}))


@dataclass(frozen=True)
class Flow:
    """All calls and all events."""

    calls: tuple[Call, ...]
    events: tuple[Told, ...]


def read(apps: Path, topology: Topology, handlers: Iterable[Handler]) -> Flow:
    """The flow between the contexts whose code is under a folder.

    Raises FlowError for a call or an event that cannot be seen in the code, and for a handler of
    an event that nobody records.
    """
    calls: set[Call] = set()
    recorded: set[tuple[str, str]] = set()
    for context in topology.contexts:
        for source in _sources(apps / context):
            for package, method in source.calls():
                calls.add(Call(context, topology.context_of(package).name, method))
            recorded |= {(context, type) for type in source.events()}
    heard = _heard(handlers, {type for _, type in recorded})
    events = {Told(teller, type, heard.get(type, ())) for teller, type in recorded}
    return Flow(tuple(sorted(calls)), tuple(sorted(events)))


def text(flow: Flow) -> str:
    """The flow, to be read in a terminal."""
    asks = [
        f"{caller} asks {callee}: {', '.join(methods)}" for caller, callee, methods in _asks(flow)
    ]
    tells = [
        f"{told.teller} tells {told.name} to {', '.join(told.handlers) or 'nobody'}"
        for told in flow.events
    ]
    return "\n".join([*asks, "", *tells])


def mermaid(flow: Flow) -> str:
    """The flow as a mermaid flowchart: calls are solid, events dotted."""
    asks = [
        f"    {caller} -->|{'<br/>'.join(methods)}| {callee}"
        for caller, callee, methods in _asks(flow)
    ]
    tells = [
        f"    {teller} -.->|{'<br/>'.join(names)}| {hearer}"
        for teller, hearer, names in _tells(flow)
    ]
    return "\n".join(["flowchart LR", "    nobody([nobody])", *asks, *tells])


def embedded(document: str, flow: Flow) -> str:
    """A document with the mermaid flowchart between its two markers.

    Raises FlowError where the markers are missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise FlowError(f"there must be a line {BEGIN} and, below it, a line {END}")
    return f"{before}{begin}\n```mermaid\n{mermaid(flow)}\n```\n{end}{after}"


def _asks(flow: Flow) -> Iterator[tuple[str, str, list[str]]]:
    for (caller, callee), calls in groupby(flow.calls, lambda call: (call.caller, call.callee)):
        yield caller, callee, [call.method for call in calls]


def _tells(flow: Flow) -> Iterator[tuple[str, str, list[str]]]:
    pairs = sorted(
        (told.teller, hearer, told.name)
        for told in flow.events
        for hearer in told.hearers or ("nobody",)
    )
    for (teller, hearer), told in groupby(pairs, lambda pair: pair[:2]):
        yield teller, hearer, [name for _, _, name in told]


def _heard(handlers: Iterable[Handler], recorded: set[str]) -> dict[str, tuple[str, ...]]:
    heard: dict[str, tuple[str, ...]] = {}
    for handler in sorted(handlers, key=lambda handler: handler.name):
        if handler.type not in recorded:
            raise FlowError(f"{handler.name} waits for {handler.type}, which nobody records")
        heard[handler.type] = (*heard.get(handler.type, ()), handler.name)
    return heard


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
        """(proto package, method) of every call to another context."""
        for call in self._calls_of(*STUBS):
            package, is_stub, _ = self._name(call.args[0]).partition("_pb2_grpc.")
            methods = self._attributes(call)
            if not is_stub or not methods:
                raise self._unseen(call, "call", "stub(XStub).Method(...)")
            yield from ((package.removeprefix("protos."), method) for method in methods)

    def events(self) -> Iterator[str]:
        """The type of every event that is recorded."""
        for call in self._calls_of(RECORD):
            classes = self._messages(call.args[0])
            if not classes:
                raise self._unseen(call, "event", "append(SomeEvent(...))")
            yield from (name.removeprefix("protos.").replace("_pb2.", ".") for name in classes)

    def _calls_of(self, *functions: str) -> Iterator[ast.Call]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and self._name(node.func) in functions:
                yield node

    def _name(self, node: ast.AST | None) -> str:
        """Return what a name stands for, such as "protos.order_pb2.OrderPaid" for
        `pb.OrderPaid`."""
        if isinstance(node, ast.Name):
            return self._imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._name(node.value)}.{node.attr}"
        return ""

    def _attributes(self, value: ast.Call) -> set[str]:
        """Return the attributes of a value that are used, at once or through a variable."""
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
        """The contract's messages that an expression may be: made here, or by a function of this
        file that says what it returns, or taken from a variable."""
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
        return FlowError(f"{place}:{node.lineno}: which {what}? Write {instead}")


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
