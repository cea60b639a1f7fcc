"""`manage.py asyncapi`: all events as an AsyncAPI document, from the contracts and the code."""

import json
import subprocess
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from protos.breaking import contracts
from tools import asyncapi, flow
from tools.management.commands.flow import read

DOCUMENT = settings.BASE_DIR / "docs" / "asyncapi.json"


class Command(BaseCommand):
    help = "Print all events as an AsyncAPI 3 document, from the contracts and the code."

    def add_arguments(self, parser: CommandParser) -> None:
        forms = parser.add_mutually_exclusive_group()
        forms.add_argument("--write", action="store_true", help="into docs/asyncapi.json")
        forms.add_argument(
            "--check", action="store_true", help="fail if docs/asyncapi.json is out of date"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = written()
        except flow.FlowError as error:
            raise CommandError(str(error)) from None
        except subprocess.CalledProcessError:
            raise CommandError("the compiler of the contracts is missing: make .venv/dev") from None
        if options["write"]:
            DOCUMENT.write_text(made)
        elif not options["check"]:
            self.stdout.write(made)
        elif not DOCUMENT.exists() or DOCUMENT.read_text() != made:
            raise CommandError(
                "docs/asyncapi.json is out of date; run `manage.py asyncapi --write`"
            )


def written() -> str:
    """Return the document of this project as text."""
    found = asyncapi.document(read(), contracts("--include_source_info"))
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
