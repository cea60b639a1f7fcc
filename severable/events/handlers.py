"""Subscriptions to events: `@on(OrderPaid)` on a plain function of the event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.message import Message

from severable.events.envelope import source_of, type_of

Function = Callable[..., None]
Prefetch = Callable[[Any], Any]


@dataclass(frozen=True)
class Handler:
    """A function that one context runs, once, for every event of a type. One that hears several
    types is several handlers of one name."""

    name: str
    context: str
    type: str
    function: Function
    prefetch: tuple[Prefetch, ...]
    replay: bool = False
    in_order: bool = False
    from_beginning: bool = False


_handlers: dict[str, Handler] = {}  # by name and type


def on(
    *events: type[Message],
    name: str = "",
    start: Literal["now", "beginning"] = "now",
    prefetch: Prefetch | None = None,
    replay: bool = False,
    in_order: bool = False,
) -> Callable[[Function], Function]:
    """Decorator: run this function for every such event, once.

    It runs inside the transaction that also marks the event as handled, so it must not call
    another context. What it needs from one, `prefetch(event)` fetches before the transaction; the
    result is the function's second argument. An exception rolls all of it back, to be tried
    again and in the end parked.

    The context and `name`, which is the function's name by default, are the subscription's
    identity: under another one it is a new subscription. A function that is renamed keeps its
    subscription by `name`. `manage.py subscriptions --check` compares with those released.

    A new subscription starts with what is appended from now on, or, with `start="beginning"`, with
    the oldest event that is kept. In a new database that is the same.

    `replay` says that it may have its effect again, because it makes a read model that can be
    emptied and made anew (`manage.py replay`). What sends mails or takes money may not.

    `in_order` says that the events of one stream take effect in the stream's order: each waits
    for those before it, also for one that is parked. Streams do not wait for each other.

    Several events must be of one context. A handler that is given one more hears that from then
    on. Raises ValueError.
    """
    if start not in ("now", "beginning"):
        raise ValueError(f'start is {start!r}: neither "now" nor "beginning"')

    def register(function: Function) -> Function:
        context = function.__module__.split(".")[1]
        identity = f"{context}.{name or function.__name__}"
        if len({source_of(type_of(event)) for event in events}) != 1:
            raise ValueError(f"{identity} must hear events of one context")
        add(
            *(
                Handler(
                    identity,
                    context,
                    type_of(event),
                    function,
                    (prefetch,) if prefetch else (),
                    replay,
                    in_order,
                    from_beginning=start == "beginning",
                )
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
