"""Calls whose responses may come from the cache, for display only."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import grpc
from django.conf import settings

from severable.caching.reads import CachedReads, rules_here
from severable.rpc.client.intercepted import InterceptedChannel
from severable.rpc.client.policy import Deadline, OutsideTransactions
from severable.rpc.client.stubs import channel_to, owner_of, stub
from severable.topology import Policy

S = TypeVar("S")


@cache
def cached_stub(stub_class: Callable[[grpc.Channel], S]) -> S:
    """Return a client whose responses may be as old as `[cached]` in topology.toml allows.

    Use it only for display. A response that a decision depends on, or that is stored or sent, must
    come from `stub`: a change takes effect here only when its event has arrived.
    """
    context = owner_of(stub_class)
    if context in settings.DEPLOYMENT.contexts:
        local: S = stub(stub_class)
        return local
    policy = settings.TOPOLOGY.policies[context]
    return stub_class(caching(channel_to(context), policy, CachedReads(rules_here())))


def caching(channel: grpc.Channel, policy: Policy, reads: CachedReads) -> grpc.Channel:
    """Return a channel that uses the cache before it calls on a channel with policies."""
    return InterceptedChannel(channel, (OutsideTransactions(), Deadline(policy), reads))
