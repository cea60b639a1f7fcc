"""The shop dies at every commit, call, publish and acknowledgment of a flow: nothing is lost,
nothing happens twice, and money and stock agree with the order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.sweep import BROKEN, FLOWS
from tests.processes import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

FOUND_IN = {
    "compensation": "place-declined",
    "outbox": "place-card",
    "deduplication": "place-card",
}


def sweep(folder: Path, *arguments: str) -> tuple[int, int, str]:
    """The points that were visited, the violations, and all that was printed."""
    servers = ("DATABASE_URL", "BROKER_URL", "CACHE_URL")
    env = {name: value for name, value in os.environ.items() if name not in servers}
    env |= {"VAR_DIR": str(folder), "LOG_LEVEL": "CRITICAL"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.sweep", *arguments],
        cwd=ROOT,
        env=env | {"DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"(\d+) points visited, (\d+) violations", done.stdout)
    assert found, done.stdout + done.stderr[-3000:]
    return int(found[1]), int(found[2]), done.stdout


@pytest.mark.parametrize("flow", FLOWS)
def test_a_death_at_any_point_breaks_no_promise(flow: str, tmp_path: Path) -> None:
    points, violations, printed = sweep(tmp_path, flow)
    print(printed.splitlines()[-1])  # noqa: T201
    assert violations == 0, printed
    assert points > 30


@pytest.mark.parametrize("guarantee", BROKEN)
def test_the_sweep_notices_a_guarantee_that_is_gone(guarantee: str, tmp_path: Path) -> None:
    _, violations, _ = sweep(tmp_path, FOUND_IN[guarantee], "--without", guarantee, "--first")
    assert violations > 0
