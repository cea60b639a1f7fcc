"""The addresses of deployments: host:port, one or several, from the file or the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from severable.topology.problem import Problem

KINDS = {"http", "grpc"}
ADDRESS = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def of(deployment: str, kind: str, entry: Any) -> list[str]:
    """Return the addresses that hold: those of the environment, or else those of the file."""
    given = os.environ.get(variable(deployment, kind), entry)
    listed = given if isinstance(given, list) else str(given).split(",")
    return [str(address).strip() for address in listed]


def variable(deployment: str, kind: str) -> str:
    """Return the environment variable that takes the place of the file's entry."""
    return f"{kind}_{deployment}".upper()


def problems(raw: dict[str, Any]) -> Iterator[Problem]:
    """Yield the problems with the addresses of a file's placements."""
    for placement, deployments in raw["placements"].items():
        for name, entry in deployments.items():
            for kind in sorted(KINDS & entry.keys()):
                for text in _wrong(kind, of(name, kind, entry[kind])):
                    if variable(name, kind) in os.environ:
                        yield Problem((), f"{variable(name, kind)}: {text}")
                    else:
                        yield Problem(("placements", placement, name, kind), text)


def _wrong(kind: str, found: list[str]) -> Iterator[str]:
    for address in dict.fromkeys(found):
        if not ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 65536:
            yield f"{address!r} is no host:port"
            return
        if found.count(address) > 1:
            yield f"{address!r} is there twice"
    if not found:
        yield "no address"
    elif kind == "grpc" and not _one_family(found):
        yield (
            "several gRPC addresses must be all IPv4 or all IPv6; one name may stand for several: "
            + ", ".join(found)
        )


def _one_family(addresses: list[str]) -> bool:
    # What gRPC's own resolver can take: one name, which may stand for several addresses, or
    # addresses of one family.
    hosts = [address.rpartition(":")[0].strip("[]") for address in addresses]
    try:
        return len(hosts) == 1 or len({ip_address(host).version for host in hosts}) == 1
    except ValueError:
        return False
