"""`manage.py subscriptions`: which handler subscribes to what, and what has changed."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from severable.events import subscriptions
from severable.events.models import Subscription

DOCUMENT = settings.BASE_DIR / "docs" / "subscriptions.json"


class Command(BaseCommand):
    help = "Print which handler subscribes to what; compare it with what is released."

    def add_arguments(self, parser: CommandParser) -> None:
        forms = parser.add_mutually_exclusive_group()
        forms.add_argument(
            "--check", action="store_true", help="are they those of docs/subscriptions.json?"
        )
        forms.add_argument(
            "--release", action="store_true", help="write them into docs/subscriptions.json"
        )
        forms.add_argument(
            "--forget", metavar="NAME", help="how far a subscription has read whose handler is gone"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forget"]:
            self._forget(options["forget"])
            return
        if set(settings.DEPLOYMENT.contexts) != set(settings.TOPOLOGY.contexts):
            raise CommandError("handlers are known where they run: use SHOP_PLACEMENT=one")
        present = subscriptions.present()
        if options["release"]:
            DOCUMENT.write_text(json.dumps(present, indent=2) + "\n")
        elif options["check"]:
            self._check(present)
        else:
            for name, types in present.items():
                self.stdout.write(f"{name}: {', '.join(types)}")

    def _check(self, present: dict[str, list[str]]) -> None:
        found = list(subscriptions.differences(json.loads(DOCUMENT.read_text()), present))
        if found:
            meant = "If that is meant: manage.py subscriptions --release"
            raise CommandError("\n".join([*found, meant]))

    def _forget(self, name: str) -> None:
        if name not in subscriptions.gone():
            known = name in subscriptions.present()
            raise CommandError(f"{name} is {'subscribed' if known else 'not known'} here")
        Subscription.objects.filter(handler=name).delete()
