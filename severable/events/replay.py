"""Replay: a handler gets its events again, from the feed of the context that recorded them.

For read models, which are made anew from what happened. Only a handler that says so gets an
event twice (`@on(..., replay=True)`): nobody wants last year's mails.
"""

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
    """There is no replay to go on with."""

    code = "nothing_interrupted"


@dataclass(frozen=True)
class Progress:
    """So many events have been made due again, up to those of this time."""

    events: int
    reached: datetime


def begin(handler: Handler, start: feed.Position) -> None:
    """Let the next `run` start after a position. Raises NotReplayable."""
    delivery.check_replayable(handler)
    feed.remember(reader(handler), start)


def run(handler: Handler) -> Iterator[Progress]:
    """Make what the handler has had due again, batch by batch, until all that was there at the
    beginning is. Interrupted, another `run` goes on. Raises NothingInterrupted, grpc.RpcError.

    What was discarded stays so. Workers deliver meanwhile.
    """
    name, began, count = reader(handler), timezone.now(), 0
    if not Subscription.objects.filter(handler=name).exists():
        raise NothingInterrupted(f"No replay of {handler.name} was interrupted.")
    while True:
        after = feed.reached()[name]
        events, upto, more = _read(handler, after)
        with transaction.atomic():
            delivery.again(events, handler)
            feed.remember(name, upto)
        count += len(events)
        if not more or feed.time(events[-1]) > began:
            break
        yield Progress(count, feed.time(events[-1]))
    Subscription.objects.filter(handler=name).delete()
    yield Progress(count, began)


def position_before(handler: Handler, since: datetime) -> feed.Position:
    """The position after which everything was recorded at this time or later. Raises
    grpc.RpcError."""
    after = feed.START
    while True:
        events, upto, more = _read(handler, after)
        for event in events:
            if feed.time(event) >= since:
                return after
            after = feed.at(event)
        if not more:
            return upto


def reader(handler: Handler) -> str:
    """The name under which a replay is remembered until it is through."""
    return f"{REPLAY}{handler.name}"


def _read(handler: Handler, after: feed.Position) -> feed.Page:
    return feed.read(source_of(handler.type), types_of(handler.name), after, BATCH)
