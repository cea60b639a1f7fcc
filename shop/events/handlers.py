"""Who reacts to what: `@on(OrderPaid)` on a plain function of the event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from shop.events.envelope import source_of, type_of

Function = Callable[..., None]
Ask = Callable[[Any], Any]


@dataclass(frozen=True)
class Handler:
    """A function that one context runs, once, for every event of a type. One that hears several
    types is several handlers of one name."""

    name: str
    context: str
    type: str
    function: Function
    asks: tuple[Ask, ...]
    replay: bool = False
    in_order: bool = False


_handlers: dict[str, Handler] = {}  # by name and type


def on(
    *events: type[Message], ask: Ask | None = None, replay: bool = False, in_order: bool = False
) -> Callable[[Function], Function]:
    """Decorator: run this function for every such event, once.

    It runs inside the transaction that also marks the event as handled, so it must not call
    another context. What it has to ask one, `ask(event)` asks before the transaction; the
    answer is the function's second argument. An exception rolls all of it back, to be tried
    again and in the end parked.

    `replay` says that it may have its effect again, because it makes a read model that can be
    emptied and made anew (`manage.py replay`). What sends mails or takes money may not.

    `in_order` says that the events of one stream take effect in the stream's order: each waits
    for those before it, also for one that is parked. Streams do not wait for each other.

    Several events must be of one context. A handler that is given one more hears that from then
    on; under a new name it hears everything from the start. Raises ValueError.
    """

    def register(function: Function) -> Function:
        context = function.__module__.split(".")[1]
        name = f"{context}.{function.__name__}"
        if len({source_of(type_of(event)) for event in events}) != 1:
            raise ValueError(f"{name} must hear events of one context")
        asks = (ask,) if ask else ()
        add(
            *(
                Handler(name, context, type_of(event), function, asks, replay, in_order)
                for event in events
            )
        )
        return function

    return register


def add(*made: Handler) -> None:
    """Register what one function hears. Raises ValueError where its name is taken."""
    taken = {handler.name for handler in _handlers.values()}
    for handler in made:
        if handler.name in taken:
            raise ValueError(f"there are two handlers {handler.name}")
        _handlers[f"{handler.name} {handler.type}"] = handler


def named(name: str) -> Handler:
    """A handler by its name, such as "orders.start_shipping"; of several, any. Raises
    LookupError."""
    for handler in _handlers.values():
        if handler.name == name:
            return handler
    raise LookupError(f"no handler {name!r} here")


def types_of(*names: str) -> set[str]:
    """The types of events that the handlers of these names hear."""
    return {handler.type for handler in _handlers.values() if handler.name in names}


def registered(context: str | None = None, type: str | None = None) -> list[Handler]:
    """Handlers in this process, of one context or of all, for one type of event or for all."""
    return [
        handler
        for handler in _handlers.values()
        if context in (None, handler.context) and type in (None, handler.type)
    ]
