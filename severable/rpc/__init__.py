"""Calls between contexts: one generated stub over a local, a REST or a gRPC channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.rpc import deadline as deadline
    from severable.rpc import identity as identity
    from severable.rpc.circuit import Circuit as Circuit
    from severable.rpc.client.addresses import FROZEN_SECONDS as FROZEN_SECONDS
    from severable.rpc.client.addresses import Address as Address
    from severable.rpc.client.addresses import Addresses as Addresses
    from severable.rpc.client.balance import Peer as Peer
    from severable.rpc.client.balance import tls_server_name as tls_server_name
    from severable.rpc.client.stubs import stub as stub
    from severable.rpc.deadline import remaining as remaining
    from severable.rpc.server.registry import registry as registry
    from severable.rpc.server.registry import serve as serve
else:
    __getattr__ = door(
        __name__,
        {
            "Address": "client.addresses",
            "Addresses": "client.addresses",
            "Circuit": "circuit",
            "FROZEN_SECONDS": "client.addresses",
            "Peer": "client.balance",
            "tls_server_name": "client.balance",
            "deadline": "deadline",
            "identity": "identity",
            "registry": "server.registry",
            "remaining": "deadline",
            "serve": "server.registry",
            "stub": "client.stubs",
        },
    )

__all__ = [
    "FROZEN_SECONDS",
    "Address",
    "Addresses",
    "Circuit",
    "Peer",
    "deadline",
    "identity",
    "registry",
    "remaining",
    "serve",
    "stub",
    "tls_server_name",
]
