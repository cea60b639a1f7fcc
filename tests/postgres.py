"""PostgreSQL clusters of a test's own: to dump from one, and to restore into another."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.addresses import free_addresses

INSTALLED = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), shutil.which("initdb")]
BINARIES = [Path(initdb).resolve().parent for initdb in INSTALLED if initdb]

needs_clusters = pytest.mark.skipif(
    not BINARIES, reason="initdb is not installed: no PostgreSQL cluster can be made"
)


@dataclass
class Cluster:
    """A server that runs. Its superuser is postgres, without a password."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Of the server; "/name" makes it one of a database."""
        return f"postgres://postgres@127.0.0.1:{self.port}"

    def dump(self, database: str) -> str:
        return run("pg_dump", f"{self.url}/{database}")

    def restore(self, dump: str, database: str) -> str:
        """Restore into a new database, and say what its URL is."""
        run("createdb", f"--maintenance-db={self.url}/postgres", database)
        run("psql", "-q", "-v", "ON_ERROR_STOP=1", f"{self.url}/{database}", stdin=dump)
        return f"{self.url}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        options += " -c fsync=off -c max_connections=400"
        log = self.folder / "log"
        run("pg_ctl", "start", "-w", "-D", self.data, "-l", str(log), "-o", options)

    def stop(self) -> None:
        run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.data)

    @property
    def data(self) -> str:
        return str(self.folder / "data")


@contextmanager
def cluster(epoch: int = 0) -> Iterator[Cluster]:
    """A new cluster, for as long as the block lasts. Its transaction ids begin after so many times
    four billion."""
    folder = Path(tempfile.mkdtemp(prefix="shop-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
    made = Cluster(folder, int(free_addresses(1)[0].rpartition(":")[2]))
    try:
        run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", made.data)
        if epoch:
            run("pg_resetwal", "-e", str(epoch), made.data)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)


def run(program: str, *arguments: str, stdin: str | None = None) -> str:
    """Run one of PostgreSQL's programs. None of those that serve may run as root."""
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*as_postgres, str(BINARIES[0] / program), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if program == "pg_ctl" else subprocess.PIPE,
        cwd="/",
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"
    return done.stdout
