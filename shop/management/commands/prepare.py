"""`manage.py prepare`: what a deployment needs before its processes start."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection


class Command(BaseCommand):
    help = "Create the database where it is missing, migrate it and, in development, seed it."

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor == "postgresql":
            self._create_database()
        call_command("migrate", verbosity=0)
        if settings.DEVELOPMENT:
            call_command("seed_demo", stdout=self.stdout)

    def _create_database(self) -> None:
        try:
            connection.ensure_connection()
        except OperationalError:
            with connection._nodb_cursor() as cursor:
                name = connection.ops.quote_name(str(connection.settings_dict["NAME"]))
                cursor.execute(f"CREATE DATABASE {name}")
