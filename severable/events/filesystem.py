"""The embedded broker: kombu's filesystem transport, made safe for several processes at once.

kombu writes a message into its final file, and a binding into a new one, before it locks them:
another process can read half of it. Here both are renamed into place when complete, a message is
acquired by renaming it, and nothing is written outside the broker's own folder.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps, loads

# The bindings made by this process: folder, exchange, routing key, pattern, queue.
BOUND: set[tuple[str, str, str, str, str]] = set()


class Channel(filesystem.Channel):
    """A channel whose messages and bindings are never read half written."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._listed: defaultdict[str, deque[str]] = defaultdict(deque)  # by queue

    def _folder(self) -> Path:
        """Return the folder of messages, for both directions. Create it if it is missing."""
        folder = Path(self.data_folder_in)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._folder()

    def get_table(self, exchange: str) -> Any:
        """Return the bindings of an exchange, including all that this process has ever made: if
        the folder was emptied, another process may have restored only its own, and kombu would
        drop the message. Raises ChannelError if there are none."""
        table = super().get_table(exchange)
        there = {(str(self.control_folder), exchange, *entry) for entry in table}
        lost = {
            bound for bound in BOUND - there if bound[:2] == (str(self.control_folder), exchange)
        }
        for _, *bound in lost:
            self._queue_bind(*bound)
        if not (table or lost):
            raise ChannelError(f"exchange {exchange!r} has no bindings")
        return super().get_table(exchange) if lost else table

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        folder = self._folder()
        name = f"{time_ns()}_{uuid4()}.{queue}.msg"
        draft = folder / f"{name}.draft"
        draft.write_text(dumps(payload))
        draft.rename(folder / name)

    def _get(self, queue: str, timeout: Any = None) -> Any:
        folder, listed = self._folder(), self._listed[queue]
        if not listed:  # list the folder once for all its messages
            names = sorted(os.listdir(folder))  # noqa: PTH208  # names are all it needs
            listed.extend(name for name in names if name.partition(".")[2] == f"{queue}.msg")
        while listed:
            name = listed.popleft()
            acquired = folder / f"{name}.taken"
            try:
                (folder / name).rename(acquired)
            except FileNotFoundError:  # another worker was faster
                continue
            payload = loads(acquired.read_text())
            acquired.unlink()
            return payload
        raise Empty

    def _queue_bind(self, exchange: str, routing_key: Any, pattern: Any, queue: str) -> None:
        BOUND.add((str(self.control_folder), exchange, routing_key or "", pattern or "", queue))
        with self._bindings():
            file = self.control_folder / f"{exchange}.exchange"
            if not file.exists():
                file.with_suffix(".draft").write_text("[]")
                file.with_suffix(".draft").rename(file)
            super()._queue_bind(exchange, routing_key, pattern, queue)

    @contextmanager
    def _bindings(self) -> Iterator[None]:
        self.control_folder.mkdir(parents=True, exist_ok=True)
        with (self.control_folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Transport(filesystem.Transport):
    """kombu's filesystem transport on such channels."""

    Channel = Channel

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        # Not shared by all connections: the folder may have been emptied since one declared.
        self.state = virtual.BrokerState()


TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
