"""`manage.py seed_demo`: the demo data of each context. Development only."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.progress import Progress

from severable import project
from severable.config.environment import SHOP_ENV


class Command(BaseCommand):
    help = "Add the demo data of each context (its demo.py). Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEVELOPMENT:
            raise CommandError(
                "seed_demo adds accounts with known passwords; SHOP_ENV must be development, not "
                f"{SHOP_ENV!r}"
            )
        steps = [
            step
            for context in settings.DEPLOYMENT.contexts
            if find_spec(f"{project.CONTEXTS}.{context}.demo")
            for step in import_module(f"{project.CONTEXTS}.{context}.demo").steps()
        ]
        with Progress(transient=True) as progress:
            for step in progress.track(steps, description="Demo data"):
                step()
        if steps:
            self.stdout.write(f"Demo data: {len(steps)} steps are done.")
