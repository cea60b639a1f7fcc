"""Replay: a handler handles its events again, from the feed of their context, to rebuild a read
model. It must allow that (`@on(..., replay=True)`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from severable.errors import Conflict
from severable.events import delivery, feed
from severable.events.envelope import source_of
from severable.events.handlers import Handler, types_of
from severable.events.models import Subscription
from severable.events.subscriptions import REPLAY

BATCH = 500


class NothingInterrupted(Conflict):
    """There is no interrupted replay to resume."""

    code = "nothing_interrupted"


@dataclass(frozen=True)
class Progress:
    """The number of events made due again so far, and the time of the last one."""

    events: int
    time: datetime


def begin(handler: Handler, start: feed.Position) -> None:
    """Set the position after which the next `run` starts. Raises NotReplayable."""
    delivery.check_replayable(handler)
    feed.set_position(reader(handler), start)


def run(handler: Handler) -> Iterator[Progress]:
    """Make all events until now due again, in batches, except discarded ones.

    After an interruption, another `run` resumes. Raises NothingInterrupted, grpc.RpcError.
    """
    name, began, count = reader(handler), timezone.now(), 0
    if not Subscription.objects.filter(handler=name).exists():
        raise NothingInterrupted(f"No replay of {handler.name} was interrupted.")
    while True:
        after = feed.positions()[name]
        events, end, more = _read(handler, after)
        with transaction.atomic():
            delivery.redeliver(events, handler)
            feed.set_position(name, end)
        count += len(events)
        if not more or feed.time_of(events[-1]) > began:
            break
        yield Progress(count, feed.time_of(events[-1]))
    Subscription.objects.filter(handler=name).delete()
    yield Progress(count, began)


def position_before(handler: Handler, since: datetime) -> feed.Position:
    """Return the position after which all events are of this time or later. Raises
    grpc.RpcError."""
    after = feed.START
    while True:
        events, end, more = _read(handler, after)
        for event in events:
            if feed.time_of(event) >= since:
                return after
            after = feed.position_of(event)
        if not more:
            return end


def reader(handler: Handler) -> str:
    """Return the name under which a replay's position is stored."""
    return f"{REPLAY}{handler.name}"


def _read(handler: Handler, after: feed.Position) -> feed.Page:
    return feed.read(source_of(handler.type), types_of(handler.name), after, BATCH)
