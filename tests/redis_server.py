"""A Redis of a test's own, to be killed, frozen and emptied."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.addresses import free_addresses


class Redis:
    """redis-server on a free port, keeping nothing on disk."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("no redis-server here")
        (address,) = free_addresses(1)
        host, _, port = address.partition(":")
        self.url = f"redis://{address}/0"
        self._client = redis.Redis(host, int(port), retry=None, socket_timeout=5)
        self._command = [program, "--port", port, "--bind", host]
        self._command += ["--save", "", "--dir", str(folder), "--loglevel", "warning"]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.01)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def empty(self) -> None:
        self._client.flushall()

    def stop(self) -> None:
        self.kill()
        self._client.close()

    def _answers(self) -> bool:
        try:
            return bool(self._client.ping())
        except redis.ConnectionError:
            return False
