"""`manage.py prepare`: what a deployment needs before its processes start."""

from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from shop.events import subscriptions


class Command(BaseCommand):
    help = "Create the database where it is missing, migrate it and, in development, seed it."

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor == "postgresql":
            self._create_database()
        call_command("migrate", verbosity=0)
        subscriptions.start_all()  # before there is anything that a new shop's handlers might miss
        if settings.DEVELOPMENT:
            call_command("seed_demo", stdout=self.stdout)

    def _create_database(self) -> None:
        # Not through the pool: it would try for as long as anybody may wait for a connection.
        wanted = connection.get_connection_params()
        try:
            psycopg.connect(**wanted).close()
        except psycopg.OperationalError as missing:
            try:
                server_wide = wanted | {"dbname": "postgres", "options": ""}  # it may take its time
                with psycopg.connect(**server_wide, autocommit=True) as server:
                    name = connection.ops.quote_name(wanted["dbname"])
                    server.execute(f"CREATE DATABASE {name}")
            except psycopg.Error as error:
                raise CommandError(f"{missing}; nor can it be made: {error}") from None
