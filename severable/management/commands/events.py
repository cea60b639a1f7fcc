"""`manage.py events`: shows the state of this deployment's events, archives old ones."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import rich.progress
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from severable.contrib import archive
from severable.events import rpc, status, transactions


class Command(BaseCommand):
    help = "Show, archive or renumber this deployment's events."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        look = actions.add_parser("status", help="show what is not published or delivered")
        look.add_argument("--json", action="store_true", help="print JSON")
        look.add_argument(
            "--check",
            action="store_true",
            help="fail if something is parked, or behind by more than --lag",
        )
        look.add_argument("--lag", type=float, default=60, help="tolerated delay in seconds (60)")

        keep = actions.add_parser(
            "archive",
            help="remove old deliveries that are done, and move old events into a file",
        )
        keep.add_argument("--before", required=True, help="a date such as 2026-11-30, or 90d")
        keep.add_argument(
            "--to",
            type=Path,
            help="a file such as events.jsonl.gz, to which events are appended (gzip, JSON lines, "
            "CloudEvents); without it, only deliveries are removed",
        )
        keep.add_argument(
            "--force",
            action="store_true",
            help=f"include what is younger than {archive.MIN_AGE.days} days, which other "
            "deployments may not have read yet",
        )

        actions.add_parser(
            "renumber",
            help="set the positions of new events above those of all stored ones; a restore needs "
            "this only if the clock was wrong",
        )

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

    def _renumber(self, **options: Any) -> None:
        transactions.renumber()
        self.stdout.write(f"The positions of new events start at {transactions.upcoming()}.")

    def _archive(self, **options: Any) -> None:
        before = _time(options["before"])
        if before > timezone.now() - archive.MIN_AGE and not options["force"]:
            raise CommandError(
                f"--before {options['before']} is less than {archive.MIN_AGE.days} days ago: "
                "other deployments may not have read those events; add --force if all have"
            )
        try:
            self._remove("deliveries", archive.remove_deliveries(before), before)
            if options["to"]:
                self._remove("events", archive.archive_events(before, options["to"]), before)
        except BlockingIOError:
            raise CommandError(f"another run is writing to {options['to']}") from None
        except (archive.BadArchive, OSError) as error:
            raise CommandError(str(error)) from None

    def _remove(self, what: str, steps: Iterator[archive.Progress], before: datetime) -> None:
        removed, first = 0, None
        with rich.progress.Progress(transient=True) as progress:
            bar = progress.add_task(what, total=None)
            for step in steps:
                first = first or step.time
                progress.update(
                    bar,
                    total=(before - first).total_seconds(),
                    completed=(step.time - first).total_seconds(),
                    description=f"{step.removed} {what}, up to {step.time:%Y-%m-%d %H:%M}",
                )
                removed = step.removed
        self.stdout.write(f"{removed} {what} from before {before:%Y-%m-%d %H:%M} removed.")


def _time(text: str) -> datetime:
    if days := re.fullmatch(r"(\d+)d", text):
        return timezone.now() - timedelta(days=int(days[1]))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--before is {text!r}: not a date or a number of days") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _tables(found: status.Status) -> list[Table | str]:
    headings = ("reader", "events behind", "oldest", "lost by the broker")
    behind = Table(*headings, title=f"Events of {found.deployment}")
    for name, backlog in [*found.relays.items(), *found.subscriptions.items()]:
        behind.add_row(name, *_backlog(backlog), str(found.missed.get(name, "")))
    waiting = Table("handler", "parked", title="Parked deliveries")
    for handler, count in found.deliveries.parked.items():
        waiting.add_row(handler, str(count))
    oldest = found.deliveries.oldest
    return [
        behind,
        *([waiting] if found.deliveries.parked else []),
        *([f"The broker rejected {found.refused} events."] if found.refused else []),
        f"{found.deliveries.waiting} deliveries are waiting, {found.deliveries.overdue} are due.",
        *(
            [f"The oldest has waited {_since(oldest.seconds)}: {_described(oldest)}"]
            if oldest
            else []
        ),
        _jobs(found),
    ]


def _jobs(found: status.Status) -> Table:
    table = Table("kind", "waiting", "due", "failing", "parked", "due for", title="Jobs")
    for kind, jobs in found.jobs.items():
        due_for = _since(jobs.seconds) if jobs.overdue else "-"
        counts = (jobs.waiting, jobs.overdue, jobs.failing, jobs.parked)
        table.add_row(kind, *map(str, counts), due_for)
    return table


def _backlog(backlog: status.Backlog | None) -> tuple[str, str]:
    if backlog is None:
        return "?", "its feed does not respond"
    more = "or more" if backlog.events == rpc.MAX_EVENTS else ""
    age = _since(backlog.seconds) if backlog.events else "-"
    return f"{backlog.events} {more}".strip(), age


def _described(oldest: status.OldestDelivery) -> str:
    error = f", {oldest.error}" if oldest.error else ""
    return (
        f"The oldest has waited {_since(oldest.seconds)}: {oldest.handler}, "
        f"event {oldest.event_id} of {oldest.stream}, {oldest.attempts} attempts{error}"
    )


def _since(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
