"""Who reacts to what: `@on(OrderPaid)` on a plain function of the event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from shop.events.envelope import type_of

Function = Callable[..., None]
Ask = Callable[[Any], Any]


@dataclass(frozen=True)
class Handler:
    """A function that one context runs, once, for every event of a type."""

    name: str
    context: str
    type: str
    function: Function
    asks: tuple[Ask, ...]
    replay: bool = False


_handlers: dict[str, Handler] = {}


def on(
    event: type[Message], *, ask: Ask | None = None, replay: bool = False
) -> Callable[[Function], Function]:
    """Decorator: run this function for every such event, once.

    It runs inside the transaction that also marks the event as handled, so it must not call
    another context. What it has to ask one, `ask(event)` asks before the transaction; the
    answer is the function's second argument. An exception rolls all of it back, to be tried
    again and in the end parked.

    `replay` says that it may have its effect again, because it makes a read model that can be
    emptied and made anew (`manage.py replay`). What sends mails or takes money may not.
    """

    def register(function: Function) -> Function:
        context = function.__module__.split(".")[1]
        name = f"{context}.{function.__name__}"
        asks = (ask,) if ask else ()
        add(Handler(name, context, type_of(event), function, asks, replay))
        return function

    return register


def add(handler: Handler) -> None:
    """Register a handler that is made otherwise. Raises ValueError where its name is taken."""
    if handler.name in _handlers:
        raise ValueError(f"there are two handlers {handler.name}")
    _handlers[handler.name] = handler


def named(name: str) -> Handler:
    """A handler by its name, such as "orders.start_shipping". Raises LookupError."""
    if name not in _handlers:
        raise LookupError(f"no handler {name!r} here")
    return _handlers[name]


def registered(context: str | None = None, type: str | None = None) -> list[Handler]:
    """Handlers in this process, of one context or of all, for one type of event or for all."""
    return [
        handler
        for handler in _handlers.values()
        if context in (None, handler.context) and type in (None, handler.type)
    ]
