"""Subscriptions: the start positions of new handlers, and differences from the released ones.

A handler is identified by its name. One without a row is new, and starts at the end of its feed, or
with `start="beginning"` at its beginning. In a new database all start at the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import grpc
from django.utils import timezone

from severable.events import feed, handlers, pending
from severable.events.envelope import from_json
from severable.events.handlers import Handler
from severable.events.models import Delivery, RelayPosition, Subscription

REPLAY = "replay "  # prefix of the names of replays

RECENT = 10_000  # deliveries, of all handlers

Types = Mapping[str, list[str]]  # by the handler's name


def start_all() -> None:
    """Start all new handlers of this deployment, before its processes start. If a feed does not
    respond, the reconciler starts its handlers later."""
    for source, subscribers in feed.by_source(handlers.registered()).items():
        try:
            ensure_started(source, subscribers)
        except grpc.RpcError:
            continue


def ensure_started(source: str, subscribers: Iterable[Handler]) -> dict[str, feed.Position]:
    """Start the new handlers of a source, and return all positions. Handlers whose source is too
    old to tell its end have none. Raises grpc.RpcError."""
    positions = feed.positions()
    new = [handler for handler in subscribers if handler.name not in positions]
    if not new:
        return positions
    _start(source, new)
    return feed.positions()


def orphaned() -> list[str]:
    """Return the subscriptions whose handler does not exist in this deployment any more."""
    names = {handler.name for handler in handlers.registered()}
    return sorted(
        name for name in feed.positions() if name not in names and not name.startswith(REPLAY)
    )


def current() -> dict[str, list[str]]:
    """Return the event types of each handler here, except those that invalidate caches."""
    names = sorted({h.name for h in handlers.registered() if not h.name.startswith("cache.")})
    return {name: sorted(handlers.types_of(name)) for name in names}


def differences(released: Types, now: Types) -> Iterator[str]:
    """Yield the differences from a release: handlers that seem renamed, are removed or new, and
    event types gained or lost."""
    removed = {name: types for name, types in released.items() if name not in now}
    new = {name: types for name, types in now.items() if name not in released}
    for name, types in list(new.items()):
        before = [old for old, its in removed.items() if its == types and _context(old, name)]
        if before:
            short = before[0].partition(".")[2]
            yield (
                f'{name} is new and {before[0]} is removed: if it was renamed, set name="{short}"'
            )
            del removed[before[0]], new[name]
    yield from (f"{name} is removed: its waiting deliveries will be parked" for name in removed)
    for name in sorted(now.keys() & released.keys()):
        yield from _changed(name, set(released[name]), set(now[name]))
    for name in new:
        starts = "at the beginning" if handlers.named(name).from_beginning else "now"
        yield f"{name} is new: it starts {starts}"


def _context(one: str, other: str) -> bool:
    return one.partition(".")[0] == other.partition(".")[0]


def _changed(name: str, before: set[str], after: set[str]) -> Iterator[str]:
    yield from (f"{name}: subscribes to {type} from now on" for type in sorted(after - before))
    yield from (f"{name}: does not subscribe to {type} any more" for type in sorted(before - after))


def _start(source: str, new: list[Handler]) -> None:
    if _in_new_database():
        feed.start({handler.name for handler in handlers.registered()}, feed.START)
        return
    feed.start([handler.name for handler in new if handler.from_beginning], feed.START)
    from_now = [handler.name for handler in new if not handler.from_beginning]
    end = feed.end_of(source) if from_now else None
    if end is not None:
        for name in from_now:
            feed.start([name], min([end, *_delivered_before(name)]))


def _in_new_database() -> bool:
    """Return whether nothing has been read or published here yet."""
    read = Subscription.objects.exclude(handler__startswith=REPLAY)
    published = RelayPosition.objects.filter(position__gt=0)
    return not (read.exists() or published.exists())


def _delivered_before(name: str) -> Iterator[feed.Position]:
    """Return the positions of events that the broker delivered to a handler before its feed
    responded: the broker may have lost later ones."""
    since = timezone.now() - pending.MAX_TRANSIT
    newest = Delivery.objects.order_by("-pk").values("pk")[:RECENT]  # there is no index by handler
    rows = Delivery.objects.filter(pk__in=newest, handler=name, received_at__gte=since)
    for row in rows.order_by("pk")[:100]:
        yield feed.position_of(from_json(row.event))
