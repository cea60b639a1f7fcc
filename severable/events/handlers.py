"""Subscriptions to events: `@on(OrderPaid)` on a plain function of the event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.message import Message

from severable.events.envelope import source_of, type_of

Function = Callable[..., None]
Prefetch = Callable[[Any], Any]


@dataclass(frozen=True)
class Handler:
    """A function that a context runs once for every event of a type. A function that subscribes to
    several types is several handlers of one name."""

    name: str
    context: str
    type: str
    function: Function
    prefetch: tuple[Prefetch, ...]
    replay: bool = False
    in_order: bool = False
    from_beginning: bool = False
    batch: bool = False


_handlers: dict[str, Handler] = {}  # by name and type


def on(
    *events: type[Message],
    name: str = "",
    start: Literal["now", "beginning"] = "now",
    prefetch: Prefetch | None = None,
    replay: bool = False,
    in_order: bool = False,
    batch: bool = False,
) -> Callable[[Function], Function]:
    """Return a decorator that subscribes a function to events: it runs once for each.

    The function runs in the transaction that marks the event as handled, so it must not call
    another context. `prefetch(event)` may: it runs before the transaction, and its result is the
    function's second argument. An exception rolls the transaction back; the event is retried, and
    parked after the last attempt.

    The context and `name` (default: the function's name) identify the subscription. To rename a
    function, set `name` to its old name; `manage.py subscriptions --check` reports differences
    from the released subscriptions.

    A new subscription starts with the next event that is appended, or, with `start="beginning"`,
    with the oldest stored event. In a new database both are the same.

    `replay=True` allows `manage.py replay`: the handler maintains a read model that can be emptied
    and rebuilt. Do not set it if the handler sends mails or moves money.

    `in_order=True` handles the events of a stream in the stream's order: each waits for those
    before it, also for a parked one. Streams do not wait for each other.

    Each event is handled in its own transaction. With `batch=True`, events of one type that arrive
    together share one, which costs less. Set it only if the handler just inserts rows: transactions
    that update several rows, such as the stock of products, in different orders deadlock.

    All events must be of one context. A handler subscribed to one more type receives that from
    then on. Raises ValueError.
    """
    if start not in ("now", "beginning"):
        raise ValueError(f'start is {start!r}: neither "now" nor "beginning"')

    def register(function: Function) -> Function:
        context = function.__module__.split(".")[1]
        identity = f"{context}.{name or function.__name__}"
        if len({source_of(type_of(event)) for event in events}) != 1:
            raise ValueError(f"{identity} must subscribe to events of one context")
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
                    batch=batch,
                )
                for event in events
            )
        )
        return function

    return register


def add(*new: Handler) -> None:
    """Register the handlers of one function. Raises ValueError if their name is taken."""
    taken = {handler.name for handler in _handlers.values()}
    for handler in new:
        if handler.name in taken:
            raise ValueError(f"there are two handlers {handler.name}")
        _handlers[f"{handler.name} {handler.type}"] = handler


def named(name: str) -> Handler:
    """Return a handler by its name, such as "orders.start_shipping"; of several, any one. Raises
    LookupError."""
    for handler in _handlers.values():
        if handler.name == name:
            return handler
    raise LookupError(f"no handler {name!r} here")


def types_of(*names: str) -> set[str]:
    """Return the event types that the handlers of these names subscribe to."""
    return {handler.type for handler in _handlers.values() if handler.name in names}


def registered(context: str | None = None, type: str | None = None) -> list[Handler]:
    """Return the handlers in this process, optionally only of one context or one event type."""
    return [
        handler
        for handler in _handlers.values()
        if context in (None, handler.context) and type in (None, handler.type)
    ]


@contextmanager
def overridden(*made: Handler) -> Iterator[None]:
    """Let these be the only handlers within the context. At its end, those before are restored.

    For tests. A handler of this process comes from `named` or `registered`; handlers that are
    registered within the context are added to these.
    """
    before = dict(_handlers)
    _handlers.clear()
    try:
        add(*made)
        yield
    finally:
        _handlers.clear()
        _handlers.update(before)
