"""`manage.py flow`: the calls and the events between contexts, read from the code."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from severable.caching import reads as cached
from severable.events import handlers
from tools import flow

DOCUMENT = settings.BASE_DIR / "docs" / "flow.md"


class Command(BaseCommand):
    help = "Print the calls and the events between contexts, read from the code."

    def add_arguments(self, parser: CommandParser) -> None:
        forms = parser.add_mutually_exclusive_group()
        forms.add_argument("--mermaid", action="store_true", help="as a mermaid flowchart")
        forms.add_argument("--write", action="store_true", help="into docs/flow.md")
        forms.add_argument(
            "--check", action="store_true", help="fail if docs/flow.md is out of date"
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
            raise CommandError("docs/flow.md is out of date; run `manage.py flow --write`")


def read() -> flow.Flow:
    """Return the flow of this project, with the handlers that invalidate caches in a split.

    Raises FlowError if this deployment does not run all contexts, and so has not all handlers.
    """
    if set(settings.DEPLOYMENT.contexts) != set(settings.TOPOLOGY.contexts):
        raise flow.FlowError("this deployment does not run all contexts: use SHOP_PLACEMENT=one")
    caches = cached.invalidation_handlers(cached.rules(settings.TOPOLOGY.cached), "cache")
    subscribed = [*handlers.registered(), *caches]
    return flow.read(settings.BASE_DIR / "apps", settings.TOPOLOGY, subscribed)
