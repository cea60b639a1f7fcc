"""Subscriptions: where each handler starts to read, once, and how they differ from those released.

A handler is known by its name. One that has no row yet is new, and starts at the end of its feed,
or at the beginning if it asks for that. In a new database all start at the beginning: there, an
event that is older than the first row is not history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import grpc
from django.utils import timezone
from google.protobuf.json_format import ParseDict

from severable.events import delivery, feed, handlers
from severable.events.handlers import Handler
from severable.events.models import Delivery, RelayPosition, Subscription
from severable.protos import events_pb2

REPLAY = "replay "  # begins the name under which a replay is remembered

RECENT = 10_000  # deliveries, of all handlers

Types = Mapping[str, list[str]]  # by the handler's name


def start_all() -> None:
    """Start all handlers of this deployment that are new, before its processes do. If a feed does
    not answer, the reconciler starts its handlers as soon as it does."""
    for source, listeners in feed.by_source(handlers.registered()).items():
        try:
            started(source, listeners)
        except grpc.RpcError:
            continue


def started(source: str, listeners: Iterable[Handler]) -> dict[str, feed.Position]:
    """Return how far each handler has read, once those of this source that are new have started. A
    handler whose source is too old to tell its end is not among them. Raises grpc.RpcError."""
    reached = dict(feed.reached())
    new = [handler for handler in listeners if handler.name not in reached]
    if not new:
        return reached
    _start(source, new)
    return dict(feed.reached())


def gone() -> list[str]:
    """The subscriptions whose handler is not in this deployment any more."""
    names = {handler.name for handler in handlers.registered()}
    return sorted(
        name for name in feed.reached() if name not in names and not name.startswith(REPLAY)
    )


def present() -> dict[str, list[str]]:
    """The event types of each handler here; without those of caches, which no context has."""
    names = sorted({h.name for h in handlers.registered() if not h.name.startswith("cache.")})
    return {name: sorted(handlers.types_of(name)) for name in names}


def differences(released: Types, now: Types) -> Iterator[str]:
    """Yield what has changed since a release: what was renamed, as it seems, is gone, gained or
    new."""
    lost = {name: types for name, types in released.items() if name not in now}
    new = {name: types for name, types in now.items() if name not in released}
    for name, types in list(new.items()):
        before = [old for old, its in lost.items() if its == types and _context(old, name)]
        if before:
            short = before[0].partition(".")[2]
            yield (
                f'{name} is new and {before[0]} is gone: if it was renamed, write name="{short}"'
            )
            del lost[before[0]], new[name]
    yield from (f"{name} is gone: what waits for it will be parked" for name in lost)
    for name in sorted(now.keys() & released.keys()):
        yield from _changed(name, set(released[name]), set(now[name]))
    for name in new:
        begins = "at the beginning" if handlers.named(name).from_beginning else "now"
        yield f"{name} is new: it starts {begins}"


def _context(one: str, other: str) -> bool:
    return one.partition(".")[0] == other.partition(".")[0]


def _changed(name: str, before: set[str], after: set[str]) -> Iterator[str]:
    yield from (f"{name}: gains {type}, from now on" for type in sorted(after - before))
    yield from (f"{name}: loses {type}" for type in sorted(before - after))


def _start(source: str, new: list[Handler]) -> None:
    if _in_new_database():
        feed.start({handler.name for handler in handlers.registered()}, feed.START)
        return
    feed.start([handler.name for handler in new if handler.from_beginning], feed.START)
    from_now = [handler.name for handler in new if not handler.from_beginning]
    end = feed.end(source) if from_now else None
    if end is not None:
        for name in from_now:
            feed.start([name], min([end, *_delivered_before(name)]))


def _in_new_database() -> bool:
    """Return whether nothing has been read or published here yet."""
    read = Subscription.objects.exclude(handler__startswith=REPLAY)
    published = RelayPosition.objects.filter(position__gt=0)
    return not (read.exists() or published.exists())


def _delivered_before(name: str) -> Iterator[feed.Position]:
    """The positions of what the broker has brought to a handler before its feed answered: it may
    have lost what came after that."""
    since = timezone.now() - delivery.LATE
    newest = Delivery.objects.order_by("-pk").values("pk")[:RECENT]  # no index finds a handler's
    rows = Delivery.objects.filter(pk__in=newest, handler=name, received_at__gte=since)
    for row in rows.order_by("pk")[:100]:
        yield feed.at(ParseDict(row.event, events_pb2.Event(), ignore_unknown_fields=True))
