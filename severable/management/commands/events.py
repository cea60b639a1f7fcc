"""`manage.py events`: how this deployment's events get on, and where old ones go."""

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

        keep = actions.add_parser(
            "archive",
            help="remove what is old and settled: deliveries, and events into a file",
        )
        keep.add_argument("--before", required=True, help="a date such as 2026-11-30, or 90d")
        keep.add_argument(
            "--to",
            type=Path,
            help="a file such as events.jsonl.gz, to which events are added (gzip, JSON lines, "
            "CloudEvents); without, only deliveries go",
        )
        keep.add_argument(
            "--force",
            action="store_true",
            help=f"also what is younger than {archive.MINIMUM_AGE.days} days, which other "
            "deployments may not have read yet",
        )

        actions.add_parser(
            "renumber",
            help="let the positions of new events begin above those of all that are stored; "
            "after a restore this happens by itself",
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
        self.stdout.write(f"New events begin at the position {transactions.upcoming()}.")

    def _archive(self, **options: Any) -> None:
        before = _time(options["before"])
        if before > timezone.now() - archive.MINIMUM_AGE and not options["force"]:
            raise CommandError(
                f"--before {options['before']} is less than {archive.MINIMUM_AGE.days} days ago: "
                "other deployments may not have read that yet; --force if all have"
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
                first = first or step.reached
                progress.update(
                    bar,
                    total=(before - first).total_seconds(),
                    completed=(step.reached - first).total_seconds(),
                    description=f"{step.removed} {what}, up to {step.reached:%Y-%m-%d %H:%M}",
                )
                removed = step.removed
        self.stdout.write(f"{removed} {what} from before {before:%Y-%m-%d %H:%M} removed.")


def _time(text: str) -> datetime:
    if days := re.fullmatch(r"(\d+)d", text):
        return timezone.now() - timedelta(days=int(days[1]))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--before is {text!r}: neither a date nor a number of days") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _tables(found: status.Status) -> list[Table | str]:
    headings = ("what", "events behind", "oldest", "lost by the broker")
    behind = Table(*headings, title=f"Events of {found.deployment}")
    for name, lag in [*found.relays.items(), *found.subscriptions.items()]:
        behind.add_row(name, *_lag(lag), str(found.missed.get(name, "")))
    waiting = Table("handler", "parked", title="Deliveries given up")
    for handler, count in found.deliveries.parked.items():
        waiting.add_row(handler, str(count))
    oldest = found.deliveries.oldest
    return [
        behind,
        *([waiting] if found.deliveries.parked else []),
        *([f"The broker refused {found.refused} events."] if found.refused else []),
        f"{found.deliveries.waiting} deliveries wait, {found.deliveries.overdue} of them are due.",
        *([f"The oldest has waited {_since(oldest.seconds)}: {_told(oldest)}"] if oldest else []),
        _jobs(found),
    ]


def _jobs(found: status.Status) -> Table:
    table = Table("kind", "waiting", "due", "failing", "parked", "due for", title="Jobs")
    for kind, jobs in found.jobs.items():
        due_for = _since(jobs.seconds) if jobs.overdue else "-"
        counts = (jobs.waiting, jobs.overdue, jobs.failing, jobs.parked)
        table.add_row(kind, *map(str, counts), due_for)
    return table


def _lag(lag: status.Lag | None) -> tuple[str, str]:
    if lag is None:
        return "?", "its feed does not answer"
    more = "or more" if lag.events == rpc.MAX_EVENTS else ""
    return f"{lag.events} {more}".strip(), _since(lag.seconds) if lag.events else "-"


def _told(oldest: status.Waiting) -> str:
    error = f", {oldest.error}" if oldest.error else ""
    return (
        f"{oldest.handler}, event {oldest.event_id} of {oldest.stream}, "
        f"{oldest.attempts} attempts{error}"
    )


def _since(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
