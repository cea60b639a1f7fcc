"""Processes that are kept running: started, started again when they die or freeze, stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import FrameType

STOP_SECONDS = 25.0  # a web process drains, then finishes gRPC calls, then HTTP requests
LOOK_SECONDS = 3.0  # between two checks of heartbeats
HERE = Path(__file__).resolve().parent.parent


@dataclass
class Child:
    """One process: how it is started, and the process that runs now."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = field(default=0)
    alive: Callable[[], bool] = lambda: True  # whether it shows a sign of life now
    alive_at: float = 0.0  # when it showed the last one

    def start(self) -> None:
        """Start the process in its own session, so that Ctrl-C reaches only the supervisor."""
        self.started = monotonic()
        self.process = subprocess.Popen(
            self.command,
            cwd=HERE,
            env=self.environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def died(self) -> bool:
        """Return whether it no longer runs."""
        return self.process is not None and self.process.poll() is not None

    def end(self, number: int) -> None:
        """Send a signal to the process and its descendants, even if the process has ended."""
        assert self.process
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def pause(self) -> float:
        """Return the seconds before the next start: 0, unless it has just ended several times."""
        if monotonic() - self.started > 10:
            self.quick_deaths = 0
        self.quick_deaths += 1
        return 0.0 if self.quick_deaths < 3 else min(2.0 ** (self.quick_deaths - 3), 30.0)


class Supervisor:
    """Keeps children running until it is stopped. A child without a heartbeat for `frozen_seconds`
    is killed and started again; 0 disables that."""

    def __init__(self, children: list[Child], frozen_seconds: float = 0.0) -> None:
        self._children = children
        self._frozen_seconds = frozen_seconds
        self._told_to_stop = False
        self._stopping = threading.Event()
        self._due: dict[str, float] = {}

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Stop the supervisor. As a signal handler it takes no lock, such as an Event's: the code
        that it interrupts may hold it."""
        self._told_to_stop = True

    def run(self, when_started: Callable[[threading.Event], None]) -> None:
        """Run until stopped. `when_started` is called in another thread."""
        for child in self._children:
            self._start(child)
            threading.Thread(target=self._look_for_signs, args=(child,), daemon=True).start()
        threading.Thread(target=when_started, args=(self._stopping,), daemon=True).start()
        last = monotonic()
        while not self._told_to_stop:
            sleep(0.1)
            self._allow_for_pause(monotonic() - last)
            last = monotonic()
            for child in self._children:
                self._keep_running(child)
        self._stopping.set()
        self._stop_all()

    def _start(self, child: Child) -> None:
        child.start()
        # Until its first sign it has three times as long: it must load first.
        child.alive_at = child.started + 2 * self._frozen_seconds

    def _keep_running(self, child: Child) -> None:
        now = monotonic()
        if child.name in self._due:
            if now >= self._due[child.name]:
                del self._due[child.name]
                self._start(child)
        elif child.died():
            child.end(signal.SIGKILL)
            self._due[child.name] = now + child.pause()
            assert child.process
            say(f"{child.name} ended ({child.process.returncode}); starting it again")
        elif self._frozen_seconds and now - child.alive_at > self._frozen_seconds:
            say(f"{child.name} shows no sign of life; killing it")
            child.alive_at = now
            child.end(signal.SIGKILL)

    def _look_for_signs(self, child: Child) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            if child.alive():
                child.alive_at = monotonic()

    def _allow_for_pause(self, seconds: float) -> None:
        """Count no time in which this process stood still: so did the machine, perhaps."""
        if seconds > LOOK_SECONDS:
            for child in self._children:
                child.alive_at += seconds

    def _stop_all(self) -> None:
        for child in self._children:
            assert child.process
            child.process.terminate()
        deadline = monotonic() + STOP_SECONDS
        for child in self._children:
            assert child.process
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - monotonic()))
            child.end(signal.SIGKILL)
            child.process.wait()
        say("stopped")


def say(text: str) -> None:
    """Print a line."""
    print(f"shop: {text}", flush=True)


def _die_with_parent() -> None:
    # Linux only: if the supervisor is killed, its children end too and free their ports.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
