"""`manage.py subscriptions`: shows the handlers' subscriptions and their changes."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from severable.events import subscriptions
from severable.events.models import Subscription

DOCUMENT = settings.BASE_DIR / "docs" / "subscriptions.json"


class Command(BaseCommand):
    help = "Print the handlers' subscriptions, or compare them with the released ones."

    def add_arguments(self, parser: CommandParser) -> None:
        forms = parser.add_mutually_exclusive_group()
        forms.add_argument(
            "--check", action="store_true", help="fail if they differ from docs/subscriptions.json"
        )
        forms.add_argument(
            "--release", action="store_true", help="write them to docs/subscriptions.json"
        )
        forms.add_argument(
            "--forget",
            metavar="NAME",
            help="delete a subscription without a handler",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forget"]:
            self._forget(options["forget"])
            return
        if set(settings.DEPLOYMENT.contexts) != set(settings.TOPOLOGY.contexts):
            raise CommandError("only SHOP_PLACEMENT=one has the handlers of all contexts")
        current = subscriptions.current()
        if options["release"]:
            DOCUMENT.write_text(json.dumps(current, indent=2) + "\n")
        elif options["check"]:
            self._check(current)
        else:
            for name, types in current.items():
                self.stdout.write(f"{name}: {', '.join(types)}")

    def _check(self, current: dict[str, list[str]]) -> None:
        found = list(subscriptions.differences(json.loads(DOCUMENT.read_text()), current))
        if found:
            hint = "If that is intended: manage.py subscriptions --release"
            raise CommandError("\n".join([*found, hint]))

    def _forget(self, name: str) -> None:
        if name not in subscriptions.orphaned():
            exists = name in subscriptions.current()
            raise CommandError(f"{name} {'has a handler' if exists else 'does not exist'} here")
        Subscription.objects.filter(handler=name).delete()
