"""Where a test's own servers can listen."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import islice

# Below the ports that Linux gives to outgoing connections: one of these could take a port between
# its choice and the start of its server.
FIRST, END = 10_000, 32_000
PROCESSES = 8  # of a test run, each with a part of the ports


def free_addresses(count: int) -> list[str]:
    """So many addresses of this machine that nobody listens at, such as "127.0.0.1:20123"."""
    return list(islice(_free, count))


def _find() -> Iterator[str]:
    part = (END - FIRST) // PROCESSES
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
    offset = os.getpid() % part
    while True:
        offset = (offset + 1) % part
        port = FIRST + process * part + offset
        if _is_free(port):
            yield f"127.0.0.1:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_free = _find()
