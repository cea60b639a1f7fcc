"""`manage.py prepare`: prepares the database of a deployment before its processes start."""

import fcntl
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.exceptions import InconsistentMigrationHistory, NodeNotFoundError

from severable.api import checks
from severable.config.environment import VAR, env
from severable.events import subscriptions
from severable.management import preparation

ELSEWHERE = """\
{mine} has no {contexts} yet, but {theirs} has, from another placement.
  To go on with that data, choose the placement that it is of (SHOP_PLACEMENT).
  No command moves data between placements yet. By hand: stop the shop when
  `manage.py events status` shows nothing that waits, prepare with --empty, and copy the tables
  {tables}; events and sagas stay behind.
  To begin without it: EMPTY=1 make …, or manage.py prepare --empty."""


class Command(BaseCommand):
    help = (
        "Collect static files and create the database if they are missing, migrate it and, in "
        "development, seed it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--empty",
            action="store_true",
            default=env.bool("EMPTY", False),
            help="start with an empty database although another placement has data (EMPTY=1)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._collect_static()
        if not options["empty"]:
            self._refuse_data_elsewhere()
        if connection.vendor == "postgresql":
            self._create_database()
        self._migrate()
        subscriptions.start_all()  # before the first event
        if settings.DEVELOPMENT:
            call_command("seed_demo", stdout=self.stdout)

    def _collect_static(self) -> None:
        if checks.collected():
            return
        VAR.mkdir(parents=True, exist_ok=True)
        try:
            with (VAR / "static.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # other deployments on this machine prepare, too
                if not checks.collected():
                    call_command("collectstatic", interactive=False, verbosity=0)
        except OSError as error:
            raise CommandError(f"static files cannot be collected: {error}") from None

    def _refuse_data_elsewhere(self) -> None:
        found = preparation.data_elsewhere()
        if found:
            raise CommandError(
                ELSEWHERE.format(
                    mine=connection.settings_dict["NAME"],
                    contexts=", ".join(sorted(found)),
                    theirs=", ".join(sorted(set(found.values()))),
                    tables=", ".join(f"{context}_*" for context in sorted(found)),
                )
            )

    def _migrate(self) -> None:
        try:
            call_command("migrate", verbosity=0)
            misfits = list(preparation.misfits())
        except (DatabaseError, InconsistentMigrationHistory, NodeNotFoundError) as error:
            misfits = [str(error).strip()]
        if misfits:
            raise CommandError(self._complaint(misfits))

    def _complaint(self, misfits: list[str]) -> str:
        try:
            unknown = preparation.unknown_migrations()
        except (DatabaseError, InconsistentMigrationHistory, NodeNotFoundError):
            unknown = []
        name = connection.settings_dict["NAME"]
        lines = [f"{name} cannot be used by this version: {misfits[0]}"]
        if len(misfits) > 1:
            lines[0] += f", and {len(misfits) - 1} more"
        if unknown:
            lines.append(f"Another version has made it: {', '.join(unknown)} is not known here.")
        lines.append(
            "Run that version, or restore a backup that fits."
            + (f" Or stop the shop and delete {VAR} with all its data." if _in_var() else "")
        )
        return "\n  ".join(lines)

    def _create_database(self) -> None:
        # Not through the pool, which would retry until its timeout for a free connection.
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


def _in_var() -> bool:
    """Return whether the database is a file among all that is written at run time."""
    name = str(connection.settings_dict["NAME"])
    return connection.vendor == "sqlite" and name.startswith(str(VAR))
