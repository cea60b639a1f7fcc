"""The feed service: a context's events in commit order, from any position."""

from __future__ import annotations

from typing import Any

from severable.errors import Conflict, Invalid
from severable.events import transactions
from severable.events.models import Event, EventQuerySet, first_bytes
from severable.events.store import envelope, position
from severable.protos import events_pb2
from severable.protos.events_pb2_grpc import EventFeedServicer, add_EventFeedServicer_to_server
from severable.rpc.server.registry import serve

MAX_EVENTS = 1000
# gRPC accepts messages of 4 MB, and JSON escapes may double the size.
MAX_BYTES = 1_000_000


class PositionNotAssigned(Conflict):
    """The reader's position is ahead of this feed: it would miss the next events."""

    code = "position_not_assigned"


@serve(add_EventFeedServicer_to_server)
class Feed(EventFeedServicer):
    def Read(self, request: events_pb2.ReadRequest, context: Any) -> events_pb2.ReadResponse:
        _check(request)
        limit = min(request.limit or MAX_EVENTS, MAX_EVENTS)
        if request.subject:
            return _of_stream(request, limit)
        after = Event.objects.committed_after(request.after.transaction, request.after.id)
        last = after.last()  # first, so that nothing appears below it in between
        if not last and request.after.transaction >= transactions.upcoming():
            raise PositionNotAssigned(
                f"The position {request.after.transaction}:{request.after.id} was not assigned by "
                f"this database of {request.source}, or its clock is behind: check that the clock "
                "is right, then run `manage.py events renumber` there."
            )
        if request.end:
            return events_pb2.ReadResponse(reached=position(last) if last else request.after)
        wanted = list(_wanted(after, request)[:limit]) if last else []
        found = first_bytes(wanted, MAX_BYTES)
        more = len(wanted) == limit or len(found) < len(wanted)
        if more or not last:
            last = found[-1] if found else None
        return events_pb2.ReadResponse(
            events=[envelope(event) for event in found],
            reached=position(last) if last else request.after,
            more=more,
        )


def _check(request: events_pb2.ReadRequest) -> None:
    """Raise Invalid for values that no database can look up."""
    absurd = {
        "limit": request.limit < 0,
        "after": min(request.after.transaction, request.after.id) < 0,
        "before": request.before < 0,
        "types": len(request.types) > MAX_EVENTS or "\0" in "".join(request.types),
        "source": "\0" in request.source,
        "subject": "\0" in request.subject,
    }
    for field, wrong in absurd.items():
        if wrong:
            raise Invalid(f"{field} is not a valid value for a feed.", field=field)


def _of_stream(request: events_pb2.ReadRequest, limit: int) -> events_pb2.ReadResponse:
    # Earlier versions of a stream are committed earlier: no open transaction can add to them.
    stream = Event.objects.filter(stream=request.subject, version__lt=request.before)
    found = first_bytes(_wanted(stream, request).order_by("-version")[:limit], MAX_BYTES)
    return events_pb2.ReadResponse(events=[envelope(event) for event in reversed(found)])


def _wanted(events: EventQuerySet, request: events_pb2.ReadRequest) -> EventQuerySet:
    events = events.filter(source=request.source)
    return events.filter(type__in=list(request.types)) if request.types else events
