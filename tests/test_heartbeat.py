"""Processes without an address show that they work, and a probe sees when they do not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import pytest

from severable import heartbeat
from severable.events.celery import Heartbeat
from severable.http import Front
from severable.http.threads import Threads
from tests.processes import ROOT


def probe(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "severable.heartbeat", "--max-age", "30"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("age", "complaint"),
    [(1.0, ""), (100.0, "was touched 100 s ago\n"), (-100.0, "was touched -100 s ago\n")],
    ids=["works", "frozen", "the clock was set back"],
)
def test_a_frozen_process_fails_its_probe(tmp_path: Path, age: float, complaint: str) -> None:
    """A worker had no probe: it took no tasks, and nothing restarted it."""
    file = tmp_path / "beat"
    file.touch()
    os.utime(file, (time() - age, time() - age))
    done = probe(SHOP_HEARTBEAT=str(file))
    assert (done.returncode, done.stderr.endswith(complaint)) == (int(bool(complaint)), True)


def test_a_probe_that_cannot_look_says_why(tmp_path: Path) -> None:
    assert probe().stderr == "SHOP_HEARTBEAT is not set\n"
    done = probe(SHOP_HEARTBEAT=str(tmp_path / "beat"))
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}/beat: No such file or directory\n")


def test_a_probe_loads_no_django() -> None:
    """It runs every few seconds beside every process."""
    code = "import sys, severable.heartbeat; sys.exit('django' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.fixture
def beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether there has been a beat."""
    file = tmp_path / "beat"
    monkeypatch.setenv(heartbeat.VARIABLE, str(file))
    monkeypatch.setattr(heartbeat, "_last", float("-inf"))
    return file.exists


def test_a_worker_beats_where_it_takes_tasks(beats: Callable[[], bool]) -> None:
    """The timer's thread went on beating while the loop that takes tasks hung."""
    soon: list[Any] = []
    consumer = SimpleNamespace(connection=object(), call_soon=soon.append)
    Heartbeat(None).beat(SimpleNamespace(consumer=consumer))
    assert not beats()
    soon[0]()
    assert beats()


def test_a_worker_whose_broker_is_away_is_not_frozen(beats: Callable[[], bool]) -> None:
    """It would be restarted again and again, and the broker would not be back sooner."""
    Heartbeat(None).beat(SimpleNamespace(consumer=SimpleNamespace(connection=None)))
    assert beats()


def test_a_web_process_beats_on_its_event_loop(beats: Callable[[], bool]) -> None:
    """Behind mutual TLS an orchestrator has no certificate to ask it with."""

    async def live() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, Any]:
            message = next(messages)
            while message == "lifespan.shutdown" and not beats():
                await asyncio.sleep(0)
            return {"type": message}

        async def send(message: dict[str, Any]) -> None:
            """Nobody looks."""

        async with asyncio.timeout(20):
            await Front(Threads(lambda *_: []))({"type": "lifespan"}, receive, send)

    asyncio.run(live())
    assert beats()
