"""Ask another context: `stub(InventoryServiceStub).Reserve(...)`, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import grpc
from django.conf import settings

from shop.rpc.cached import CachedReads, rules_here
from shop.rpc.faults import InjectedFault
from shop.rpc.intercepted import InterceptedChannel
from shop.rpc.local import LocalChannel
from shop.rpc.policy import Breaker, Bulkhead, Deadline, Identity, OutsideTransactions, Retry
from shop.rpc.rest import RestChannel
from shop.topology import Policy

S = TypeVar("S")


@cache
def stub(stub_class: Callable[[grpc.Channel], S], context: str | None = None) -> S:
    """A client of a contract: the generated Stub, on the channel that leads to its context.

    `context` names the context for a contract that every context serves (EventFeed); for all
    others the contract's own package says it. Calls raise grpc.RpcError; `shop.refusal.from_error`
    tells a business refusal from an unknown outcome. Calls inside a transaction raise
    CallInTransaction.
    """
    package = stub_class.__module__.removeprefix("protos.").removesuffix("_pb2_grpc")
    return stub_class(_channel(context or settings.TOPOLOGY.context_of(package).name))


@cache
def _channel(context: str) -> grpc.Channel:
    peer = settings.TOPOLOGY.where(settings.PLACEMENT, context)
    policy = settings.TOPOLOGY.policies[context]
    fault = settings.TOPOLOGY.faults.get(context)
    faults = (InjectedFault(fault),) if fault else ()
    if context in settings.DEPLOYMENT.contexts:
        return policed(LocalChannel(), policy, *faults)
    remote = RestChannel(peer.http) if settings.CHANNEL == "rest" else grpc_channel(peer.grpc)
    return policed(remote, policy, Identity(), *faults, cached=CachedReads(rules_here()))


def policed(
    channel: grpc.Channel,
    policy: Policy,
    *more: grpc.UnaryUnaryClientInterceptor,
    cached: CachedReads | None = None,
) -> grpc.Channel:
    """A channel on which the policies hold that hold on all, and more."""
    policies = (
        OutsideTransactions(),
        Deadline(policy.timeout),
        *([cached] if cached else []),
        Retry(policy.retries, policy.retry_budget),
        Breaker(policy.breaker_failures, policy.breaker_seconds, patience=policy.timeout),
        Bulkhead(policy.concurrency),
        *more,
    )
    return InterceptedChannel(channel, policies)


def grpc_channel(address: str) -> grpc.Channel:
    """gRPC's own channel to an address such as "127.0.0.1:50064"."""
    # Made when first used, so after any fork. A peer that comes back is found within half a second.
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.enable_retries", 0),
        ],
    )
