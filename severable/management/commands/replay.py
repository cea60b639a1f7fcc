"""`manage.py replay`: rebuilds a read model from its events."""

import re
from datetime import UTC, datetime
from typing import Any

import grpc
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.progress import Progress

from severable.errors import DomainError
from severable.events import feed, handlers, replay


class Command(BaseCommand):
    help = """Deliver a handler's events to it again, by the workers. If the handler only adds to
    its read model, empty that first."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--handler", required=True, help="such as orders.start_shipping")
        parser.add_argument(
            "--from",
            dest="start",
            help="0 for all events, a date such as 2026-11-30, or a position of the feed such as "
            "1234:5678 (transaction and position of an event); without it, an interrupted replay "
            "is resumed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            handler = handlers.named(options["handler"])
        except LookupError as error:
            some = ", ".join(h.name for h in handlers.registered() if h.replay) or "none"
            raise CommandError(f"{error}; handlers that allow replay: {some}") from None
        try:
            if options["start"] is not None:
                replay.begin(handler, _position(handler, options["start"]))
            self._run(handler)
        except DomainError as error:
            raise CommandError(error.detail) from None
        except grpc.RpcError as error:
            raise CommandError(
                f"the feed does not respond: {error.details()}; resume later, without --from"
            ) from None

    def _run(self, handler: handlers.Handler) -> None:
        now = timezone.now()
        count, first = 0, None
        with Progress(transient=True) as progress:
            bar = progress.add_task(f"Replaying {handler.name}", total=None)
            for step in replay.run(handler):
                first = first or step.time
                progress.update(
                    bar,
                    total=(now - first).total_seconds(),
                    completed=(step.time - first).total_seconds(),
                    description=f"{step.events} events, up to {step.time:%Y-%m-%d %H:%M}",
                )
                count = step.events
        self.stdout.write(f"{count} events are due to {handler.name} again.")


def _position(handler: handlers.Handler, start: str) -> feed.Position:
    if start == "0":
        return feed.START
    if pair := re.fullmatch(r"(\d+):(\d+)", start):
        return int(pair[1]), int(pair[2])
    try:
        since = datetime.fromisoformat(start)
    except ValueError:
        raise CommandError(f"--from is {start!r}: not 0, a date or a position") from None
    return replay.position_before(handler, since if since.tzinfo else since.replace(tzinfo=UTC))
