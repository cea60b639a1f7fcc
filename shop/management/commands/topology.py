"""`manage.py topology`: what runs where, as topology.toml has it."""

import json
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Check topology.toml and print who may call whom, and what runs where."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", nargs="?", choices=["show", "check"], default="show")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        # Reading it has checked it: settings would not have loaded otherwise.
        topology = settings.TOPOLOGY
        if options["action"] == "check":
            self.stdout.write("topology.toml: ok")
        elif options["json"]:
            self.stdout.write(json.dumps(asdict(topology)["placements"], indent=2))
        else:
            for context in topology.contexts.values():
                self.stdout.write(f"{context.name} calls {', '.join(context.calls) or 'nobody'}")
            for placement, deployments in topology.placements.items():
                for deployment in deployments.values():
                    contexts = ", ".join(deployment.contexts)
                    self.stdout.write(f"{placement}/{deployment.name} runs {contexts}")
