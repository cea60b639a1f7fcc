"""`manage.py walls PATH`: what crosses the apps of a Django project, and a proposal of contexts."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tools.walls import crossings, grouping, project, report


class Command(BaseCommand):
    help = "Print what crosses the apps of any Django project, and propose contexts."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="the folder of the project; it is not run")
        parser.add_argument("--mermaid", action="store_true", help="as a mermaid flowchart")
        parser.add_argument("--contexts", type=int, default=0, help="propose so many contexts")
        parser.add_argument(
            "--examples", type=int, default=3, help="places listed of each kind (default: 3)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("contexts", "examples"):
            if options[name] < 0:
                raise CommandError(f"--{name} must not be negative")
        try:
            found = project.read(options["path"])
        except project.ProjectError as error:
            raise CommandError(str(error)) from None
        crossed = crossings.find(found)
        groups = grouping.propose(found.apps, crossed, options["contexts"])
        if options["mermaid"]:
            self.stdout.write(report.mermaid(crossed, groups))
        else:
            self.stdout.write(report.text(found, crossed, groups, options["examples"]))
