"""Edges on real sockets: nginx as it is rendered, and the embedded gateway."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from severable.config import commands
from severable.deploy import nginx as rendering
from severable.topology import Topology
from tests.addresses import free_addresses
from tests.processes import ROOT

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def need_nginx() -> str:
    """Return where nginx is. Skips the test if it is not installed."""
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    return NGINX


def command(folder: Path, text: str, *options: str) -> list[str]:
    """Return the command that runs nginx with a configuration, in the foreground."""
    (folder / "nginx.conf").write_text(text)
    # As root it would use another account, which cannot write into a test's folder.
    more = "user root;" if os.getuid() == 0 else ""
    directives = f"daemon off; {more}"
    return [need_nginx(), "-p", str(folder), "-c", "nginx.conf", "-g", directives, *options]


@contextmanager
def nginx(
    folder: Path,
    found: Topology,
    placement: str,
    hosts: Mapping[str, str],
    resolver: str = "127.0.0.1",
) -> Iterator[str]:
    """Run nginx as it is rendered for these hosts. Yields its address; the log is folder/log."""
    [address] = free_addresses(1)
    text = rendering.configuration(
        found, placement, hosts, resolver=resolver, listen=address, folder=str(folder)
    )
    with running(command(folder, text), folder / "log", dict(os.environ), address):
        yield address


@contextmanager
def gateway(folder: Path, file: Path, addresses: Mapping[str, str]) -> Iterator[str]:
    """Run the web process of placement split's gateway. Yields its address."""
    address, grpc = free_addresses(2)
    environment = {**os.environ, "SHOP_PLACEMENT": "split", "SHOP_DEPLOYMENT": "gateway"}
    environment |= {"VAR_DIR": str(folder), "SHOP_TOPOLOGY": str(file), "GRPC_LISTEN": grpc}
    environment |= {f"HTTP_{name.upper()}": where for name, where in addresses.items()}
    environment["HTTP_GATEWAY"] = address
    web = [sys.executable, *commands.web(address)]
    with running(web, folder / "log", environment, address):
        yield address


@contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str], address: str
) -> Iterator[None]:
    """Run a server, from when it listens until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while not _listens(address):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def changed(folder: Path, **values: str) -> Path:
    """Write the repository's topology.toml with other values of keys.

    A key is the first of its name, or with "edge_" before it that of [edge].
    """
    text = (ROOT / "topology.toml").read_text()
    for key, value in values.items():
        name = key.removeprefix("edge_")
        start = text.index("[edge]") if name != key else 0
        before, found, rest = text[start:].partition(f"\n{name} = ")
        assert found, key
        text = f"{text[:start]}{before}{found}{value}\n{rest.partition(chr(10))[2]}"
    (folder / "topology.toml").write_text(text)
    return folder / "topology.toml"
