"""`manage.py flow`: who asks whom, and who tells what to whom, as the code has it."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from severable.caching import reads as cached
from severable.events import handlers
from tools import flow

DOCUMENT = settings.BASE_DIR / "docs" / "flow.md"


class Command(BaseCommand):
    help = "Print who asks whom and who tells what to whom, from the code and the contracts."

    def add_arguments(self, parser: CommandParser) -> None:
        forms = parser.add_mutually_exclusive_group()
        forms.add_argument("--mermaid", action="store_true", help="as a mermaid flowchart")
        forms.add_argument("--write", action="store_true", help="into docs/flow.md")
        forms.add_argument(
            "--check", action="store_true", help="is docs/flow.md what --write gives?"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._show(read(), options)
        except flow.FlowError as error:
            raise CommandError(str(error)) from None

    def _show(self, found: flow.Flow, options: dict[str, Any]) -> None:
        if options["write"]:
            DOCUMENT.write_text(flow.embedded(DOCUMENT.read_text(), found))
        elif not options["check"]:
            self.stdout.write(flow.mermaid(found) if options["mermaid"] else flow.text(found))
        elif DOCUMENT.read_text() != flow.embedded(DOCUMENT.read_text(), found):
            raise CommandError(
                "docs/flow.md is not what the code does; run `manage.py flow --write`"
            )


def read() -> flow.Flow:
    """The flow of this shop. Its handlers are those that are loaded, so all must be; and those of
    caches, which are there wherever contexts run apart."""
    if set(settings.DEPLOYMENT.contexts) != set(settings.TOPOLOGY.contexts):
        raise flow.FlowError("handlers are known where they run: use SHOP_PLACEMENT=one")
    caches = cached.invalidation_handlers(cached.rules(settings.TOPOLOGY.cached), "cache")
    heard = [*handlers.registered(), *caches]
    return flow.read(settings.BASE_DIR / "apps", settings.TOPOLOGY, heard)
