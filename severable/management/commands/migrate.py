"""`manage.py migrate`: Django's, whose statements may take longer than those of a request."""

from typing import Any

from django.core.management.commands import migrate

from severable.config.database import unlimited_statements


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with unlimited_statements():
            super().handle(*args, **options)
