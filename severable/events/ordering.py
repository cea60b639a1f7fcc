"""Order within a stream, for handlers that ask for it: `@on(OrderPaid, ..., in_order=True)`.

Messages come in any order, twice, or not at all. A delivery waits until the event before it, of
those of its stream that its handler hears, is settled. What was parked holds up its stream, and
only that: whoever asks for order would rather have nothing than the later without the earlier.
Staff retry or discard it, and the stream goes on.
"""

from __future__ import annotations

from severable.events import feed, handlers, pending
from severable.events.envelope import source_of
from severable.events.models import Delivery
from severable.jobs.models import NotYet

SOON, LATER = 1.0, 15.0  # seconds


def wait_for_earlier(row: Delivery) -> None:
    """Raises NotYet where an earlier event of the stream has not had its effect yet."""
    earlier = Delivery.objects.filter(
        handler=row.handler, stream=row.stream, version__lt=row.version
    )
    unsettled = earlier.exclude(state=Delivery.State.DONE).order_by("version").first()
    if unsettled:
        raise _not_yet(unsettled)
    # Versions are dense: what is next to the event cannot have anything in between. It must be
    # done, not only there: it may have come since we looked for what is unsettled.
    before = earlier.filter(version=row.version - 1, state=Delivery.State.DONE)
    if row.version > 1 and not before.exists():
        _find_what_is_missing(row)


def _find_what_is_missing(row: Delivery) -> None:
    """Only the feed knows which versions before it are for this handler."""
    types = handlers.types_of(row.handler)
    last = feed.last_before(source_of(row.type), types, row.stream, row.version)
    if last is None:
        return
    before = Delivery.objects.filter(handler=row.handler, event_id=last.id).first()
    if before and before.state != Delivery.State.DONE:
        raise _not_yet(before)
    handler = handlers.named(row.handler)
    if not before and not pending.forgotten(last, handler):
        pending.expect([last], handler)
        raise NotYet(f"version {last.sequence} of the stream has not come yet", SOON)


def _not_yet(before: Delivery) -> NotYet:
    seconds = LATER if before.state == Delivery.State.PARKED else SOON
    return NotYet(f"version {before.version} of the stream is {before.state}", seconds)
