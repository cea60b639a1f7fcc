"""Calls to another context: `stub(InventoryServiceStub).Reserve(...)`, in any placement."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import grpc
from django.conf import settings

from severable.rpc.client.balance import tls_server_name
from severable.rpc.client.faults import InjectedFault
from severable.rpc.client.intercepted import InterceptedChannel
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import (
    Breaker,
    Bulkhead,
    Deadline,
    Identity,
    OutsideTransactions,
    Retry,
)
from severable.rpc.client.rest import RestChannel
from severable.rpc.client.spans import CallSpan
from severable.topology import Policy

S = TypeVar("S")

BALANCED = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},  # gRFC A17: the server says when it drains
    }
)


@cache
def stub(stub_class: Callable[[grpc.Channel], S], context: str | None = None) -> S:
    """Return a client of a contract: the generated Stub, on the channel to its context.

    `context` names the context for a contract that every context serves (EventFeed); for all
    others the contract's own package names it. Calls raise grpc.RpcError, from which
    `severable.errors.from_error` makes a domain error unless the outcome is unknown. Calls inside a
    transaction raise CallInTransaction.
    """
    return stub_class(channel_to(context or owner_of(stub_class)))


def owner_of(stub_class: Callable[[grpc.Channel], Any]) -> str:
    """Return the context whose contract a generated Stub belongs to."""
    package = stub_class.__module__.rpartition(".")[2].removesuffix("_pb2_grpc")
    return settings.TOPOLOGY.context_of(package).name


@cache
def channel_to(context: str) -> grpc.Channel:
    """Return the channel to a context, with all policies, as placement and CHANNEL define it."""
    peer = settings.TOPOLOGY.where(settings.PLACEMENT, context)
    policy = settings.TOPOLOGY.policies[context]
    fault = settings.TOPOLOGY.faults.get(context)
    faults = (InjectedFault(fault),) if fault else ()
    if context in settings.DEPLOYMENT.contexts:
        return _traced(policed(LocalChannel(), policy, *faults), CallSpan(context, local=True))
    if settings.CHANNEL == "rest":
        remote: grpc.Channel = RestChannel(*peer.http, name=tls_server_name(peer))
    else:
        remote = grpc_channel(*peer.grpc, name=peer.name)
    return _traced(policed(remote, policy, Identity(), *faults), CallSpan(context, local=False))


def _traced(channel: grpc.Channel, span: CallSpan) -> grpc.Channel:
    """Return the channel with spans if they are exported: else they would cost more than a call."""
    return InterceptedChannel(channel, [span]) if settings.OTEL_EXPORTER_OTLP_ENDPOINT else channel


def policed(
    channel: grpc.Channel, policy: Policy, *more: grpc.UnaryUnaryClientInterceptor
) -> grpc.Channel:
    """Return a channel with the policies that all channels have, and the interceptors in `more`."""
    policies = (
        OutsideTransactions(),
        Deadline(policy),
        Retry(policy),
        Breaker(policy),
        Bulkhead(policy),
        *more,
    )
    return InterceptedChannel(channel, policies)


def grpc_channel(*addresses: str, name: str = "") -> grpc.Channel:
    """Return gRPC's own channel to addresses such as "127.0.0.1:50064", or to all of a DNS name.

    Calls go in turn to each address that is connected and healthy. gRPC itself sends a call to
    another address if the first has not received it (the "transparent retries" of gRFC A6); no
    other retry is configured. With TLS, `name` is the deployment that the peer's certificate
    must name.
    """
    # Created on first use, so after any fork. A recovered peer is found in half a second.
    options: list[tuple[str, Any]] = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.service_config", BALANCED),
    ]
    if settings.TLS is None:
        return grpc.insecure_channel(_target(addresses), options)
    cert, key, ca = settings.TLS.pem()
    options.append(("grpc.ssl_target_name_override", name))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    return grpc.secure_channel(_target(addresses), credentials, options)


def _target(addresses: tuple[str, ...]) -> str:
    if len(addresses) == 1:
        return f"dns:///{addresses[0]}"
    return ("ipv6:" if addresses[0].startswith("[") else "ipv4:") + ",".join(addresses)
