"""`manage.py events status`: how this deployment's events get on."""

import json
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from shop.events import rpc, status


class Command(BaseCommand):
    help = "Look after this deployment's events."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        look = actions.add_parser("status", help="what is not published, compared or delivered yet")
        look.add_argument("--json", action="store_true", help="for programs")
        look.add_argument(
            "--check",
            action="store_true",
            help="fail where something is parked, or behind by more than --lag",
        )
        look.add_argument("--lag", type=float, default=60, help="seconds that are no problem (60)")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(**options)

    def _status(self, **options: Any) -> None:
        found = status.status()
        if options["json"]:
            self.stdout.write(json.dumps(found.as_json(), indent=2))
        else:
            Console(file=cast(IO[str], self.stdout), markup=False).print(*_tables(found), sep="\n")
        problems = list(found.problems(options["lag"])) if options["check"] else []
        if problems:
            raise CommandError("\n".join(problems))


def _tables(found: status.Status) -> list[Table | str]:
    behind = Table("what", "events behind", "oldest", title=f"Events of {found.deployment}")
    behind.add_row("relay", *_lag(found.relay))
    for handler, lag in found.subscriptions.items():
        behind.add_row(handler, *_lag(lag))
    waiting = Table("handler", "parked", title="Deliveries given up")
    for handler, count in found.deliveries.parked.items():
        waiting.add_row(handler, str(count))
    oldest = found.deliveries.oldest
    return [
        behind,
        *([waiting] if found.deliveries.parked else []),
        f"{found.deliveries.waiting} deliveries wait, {found.deliveries.overdue} of them are due.",
        *([f"The oldest has waited {_since(oldest.seconds)}: {_told(oldest)}"] if oldest else []),
    ]


def _lag(lag: status.Lag | None) -> tuple[str, str]:
    if lag is None:
        return "?", "its feed does not answer"
    more = "or more" if lag.events == rpc.MOST else ""
    return f"{lag.events} {more}".strip(), _since(lag.seconds) if lag.events else "-"


def _told(oldest: status.Waiting) -> str:
    error = f", {oldest.error}" if oldest.error else ""
    return (
        f"{oldest.handler}, event {oldest.event_id} of {oldest.stream}, "
        f"{oldest.attempts} attempts{error}"
    )


def _since(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
