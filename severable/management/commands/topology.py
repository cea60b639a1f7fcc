"""`manage.py topology`: shows, checks, renders and compares topology.toml."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from severable import topology
from severable.deploy import RENDERERS, differing, render, write
from severable.topology import TopologyError, difference, picture

TARGETS = (*RENDERERS, "all")


class Command(BaseCommand):
    help = "Show or check topology.toml, render files from it, or compare placements."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.set_defaults(action=self.show, json=False)
        parser.add_argument("--json", action="store_true", help="print JSON")
        actions = parser.add_subparsers(title="actions")
        show = actions.add_parser("show", help="show calls and placements (the default)")
        show.add_argument("--json", action="store_true", help="print JSON")
        show.set_defaults(action=self.show)
        check = actions.add_parser("check", help="report errors, also those of a deployment")
        check.set_defaults(action=self.check_all)
        files = actions.add_parser("render", help="write the files of a target")
        files.add_argument("target", choices=TARGETS)
        files.add_argument("--check", action="store_true", help="fail if a file is out of date")
        files.set_defaults(action=self.render)
        diff = actions.add_parser("diff", help="show the differences of two placements")
        diff.add_argument("before", choices=sorted(settings.TOPOLOGY.placements))
        diff.add_argument("after", choices=sorted(settings.TOPOLOGY.placements))
        diff.set_defaults(action=self.diff)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            options["action"](**options)
        except TopologyError as error:
            raise CommandError(str(error)) from None

    def show(self, **options: Any) -> None:
        if options["json"]:
            placements = asdict(settings.TOPOLOGY)["placements"]
            self.stdout.write(json.dumps(placements, indent=2))
        else:
            for line in picture.lines(settings.TOPOLOGY):
                self.stdout.write(line)

    def check_all(self, **options: Any) -> None:
        self._refuse_undeployable()
        for name, task in sorted(current_app.tasks.items()):
            if getattr(task, "autoretry_for", ()):
                raise CommandError(
                    f"task {name}: it has autoretry_for, and what it does is a row, which is "
                    "retried by itself: both would multiply"
                )
        self.stdout.write(f"{topology.path().name}: ok")

    def render(self, **options: Any) -> None:
        target, root = options["target"], settings.BASE_DIR
        # A mesh can make faults on purpose; processes outside development refuse to.
        self._refuse_undeployable(faults=target == "istio")
        files = render(settings.TOPOLOGY, target)
        if options["check"]:
            stale = list(differing(root, target, files))
            if stale:
                raise CommandError(
                    f"not as {topology.path().name} has it: {', '.join(stale)}; "
                    f"run `manage.py topology render {target}`"
                )
        else:
            write(root, target, files)
        self.stdout.write(f"{len(files)} files of {target}: ok")

    def diff(self, **options: Any) -> None:
        for line in difference.lines(settings.TOPOLOGY, options["before"], options["after"]):
            self.stdout.write(line)

    def _refuse_undeployable(self, faults: bool = False) -> None:
        checked = replace(settings.TOPOLOGY, faults={}) if faults else settings.TOPOLOGY
        topology.refuse_undeployable(topology.path(), checked)
