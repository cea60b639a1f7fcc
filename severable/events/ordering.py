"""Order within a stream, for handlers with `in_order=True`.

Messages may arrive in any order, twice, or not at all. A delivery waits until the previous event of
its stream among the handler's types is done. A parked delivery blocks its stream, and no other,
until staff retry or discard it.
"""

from __future__ import annotations

from severable.events import feed, handlers, pending
from severable.events.envelope import source_of
from severable.events.models import Delivery
from severable.jobs.models import NotYet
from severable.protos.events_pb2 import Event

SOON, LATER = 1.0, 15.0  # seconds


def wait_for_earlier(event: Event, handler: handlers.Handler) -> None:
    """Raise NotYet if an earlier event of the stream is not done."""
    earlier = Delivery.objects.filter(
        handler=handler.name, stream=event.subject, version__lt=event.sequence
    )
    unsettled = earlier.exclude(state=Delivery.State.DONE).order_by("version").first()
    if unsettled:
        raise _not_yet(unsettled)
    # Versions are dense: if the previous version is done, nothing is missing. Its state is checked
    # again because it may have arrived after the first query.
    before = earlier.filter(version=event.sequence - 1, state=Delivery.State.DONE)
    if event.sequence > 1 and not before.exists():
        _require_previous(event, handler)


def _require_previous(event: Event, handler: handlers.Handler) -> None:
    """Raise NotYet if the previous event is not done; only the feed knows which one that is."""
    types = handlers.types_of(handler.name)
    last = feed.last_before(source_of(event.type), types, event.subject, event.sequence)
    if last is None:
        return
    before = Delivery.objects.filter(handler=handler.name, event_id=last.id).first()
    if before and before.state != Delivery.State.DONE:
        raise _not_yet(before)
    if not before and not pending.was_removed(last, handler):
        pending.create_missing([last], handler)
        raise NotYet(f"version {last.sequence} of the stream has not arrived", SOON)


def _not_yet(before: Delivery) -> NotYet:
    seconds = LATER if before.state == Delivery.State.PARKED else SOON
    return NotYet(f"version {before.version} of the stream is {before.state}", seconds)
