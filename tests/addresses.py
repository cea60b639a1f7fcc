"""Where a test's own servers can listen."""

from __future__ import annotations

import socket


def free_addresses(count: int) -> list[str]:
    """So many addresses of this machine that nobody listens at, such as "127.0.0.1:40123"."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return addresses
