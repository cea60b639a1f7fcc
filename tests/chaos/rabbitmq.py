"""A RabbitMQ of one's own, to be killed, frozen and filled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from uuid import uuid4

from kombu import Connection

from tests.addresses import free_addresses

SERVER = next(
    (p for p in ("/usr/lib/rabbitmq/bin/rabbitmq-server",) if Path(p).exists()),
    shutil.which("rabbitmq-server"),
)


class RabbitMQ:
    """One node, with a port and a folder of its own, as whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        port, distribution = (a.rpartition(":")[2] for a in free_addresses(2))
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        (folder / "plugins").write_text("[].\n")
        self._name = f"shop{uuid4().hex[:8]}@localhost"
        self._env = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": distribution,
        }
        self._pid = folder / "pid"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert SERVER
        self._process = subprocess.Popen(
            ["nice", "-n", "19", SERVER],  # as on another machine: its start takes no time of ours
            env=self._env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 90
        while not self.answers():
            assert time.monotonic() < deadline and self._process.poll() is None, "no RabbitMQ"
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
                return True
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """To the node and all that it has started."""
        assert self._process
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        assert self._process
        self._process.wait()

    def control(self, *command: str) -> None:
        """`rabbitmqctl …`"""
        assert SERVER
        tool = Path(SERVER).with_name("rabbitmqctl")
        subprocess.run(
            [tool, "-q", "-n", self._name, *command], env=self._env, check=True, timeout=60
        )

    def delete_queues(self, names: list[str]) -> None:
        """With all that is in them."""
        with Connection(self.url) as connection:
            for name in names:
                connection.default_channel.queue_delete(name)
