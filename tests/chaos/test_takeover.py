"""Two relays: one publishes, the other takes over when that one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from severable.events.models import RelayPosition
from severable.jobs.models import Lease
from tests.events.recorded import recorded
from tests.machine import eventually
from tests.processes import ROOT, environment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("running")]


@pytest.fixture
def relays(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "manage.py", "relay"]
    env = environment(tmp_path)
    running = [subprocess.Popen(command, cwd=ROOT, env=env) for _ in range(2)]
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def published(events: int) -> Callable[[], bool]:
    """Whether so many events of a new database are."""
    return lambda: RelayPosition.objects.filter(position__gte=events).exists()


def test_another_relay_takes_over(relays: list[subprocess.Popen[bytes]]) -> None:
    """A lease that outlives its holder by minutes, or a second relay that never looks again."""
    (first,) = recorded(1)
    eventually(published(first.position))
    holder = int(Lease.objects.get(name="relay").holder.split("-")[-2])
    assert holder in {process.pid for process in relays}
    os.kill(holder, signal.SIGKILL)
    killed = time.monotonic()
    (second,) = recorded(1)
    # Six seconds of lease, and two until the other looks; the rest is for a busy machine.
    eventually(published(second.position), within=15)
    print(f"taken over after {time.monotonic() - killed:.1f} s")  # noqa: T201
    assert Lease.objects.get(name="relay").holder.split("-")[-2] != str(holder)
