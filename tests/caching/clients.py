"""A deployment that caches what users answer, and the users that it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
from django.conf import settings as project
from django.db import transaction
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.caching import reads as cached
from severable.caching.backends import (
    CacheKey,
    ReadThroughCache,
    invalidate,
)
from severable.caching.stubs import caching
from severable.events import delivery
from severable.events.envelope import to_json
from severable.events.store import append, envelope
from severable.rpc.client import stubs
from severable.rpc.client.local import LocalChannel
from severable.topology import Cached
from tests.rpc.channels import POLICY, Users

ENTRY = Cached("user.UserService/GetUser", "users", 600, "user_id", ("user.UserUpdated",))


class Owner(Users):
    """Counts who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def GetUser(self, request: Any, context: Any) -> Any:
        self.calls += 1
        return super().GetUser(request, context)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def use_redis(settings: Any, url: str, timeout: float = 10) -> None:
    """Patiently, where it is not the cache's slowness that is tested: machines are busy."""
    options = {"SOCKET_CONNECT_TIMEOUT": timeout, "SOCKET_TIMEOUT": timeout}
    options["SERIALIZER"] = "severable.caching.backends.Serializer"
    backend = "django_redis.cache.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url, "OPTIONS": options}}


def client(
    channel: grpc.Channel | None = None, clock: Clock | None = None, seconds: float = 600
) -> UserServiceStub:
    """Users, called by a deployment that keeps answers for so many seconds."""
    entries = [replace(entry, seconds=seconds) for entry in project.TOPOLOGY.cached]
    reads = cached.CachedReads(cached.rules(entries), ReadThroughCache(clock or Clock()))
    policed = stubs.policed(channel or LocalChannel(), POLICY)
    return UserServiceStub(caching(policed, POLICY, reads))


def get(users: UserServiceStub, user_id: int = 7, **options: Any) -> Any:
    return users.GetUser(pb.GetUserRequest(user_id=user_id), **options)


def cache_key(user_id: int = 7) -> CacheKey:
    return cached.Rule(ENTRY).cache_key(pb.GetUserRequest(user_id=user_id))


def changed(user_id: int = 7) -> None:
    """As the handler of an event has it."""
    invalidate(cached.Rule(ENTRY).subject(pb.UserUpdated(user_id=user_id)))


def named(name: str) -> Callable[[Any, Any], pb.UserResponse]:
    return lambda request, context: pb.UserResponse(id=request.user_id, name=name)


def happened(event: str, **fields: Any) -> None:
    """An event is recorded, and comes to the queue of orders."""
    described = descriptor_pool.Default().FindMessageTypeByName(event)
    message: Message = message_factory.GetMessageClass(described)(**fields)
    with transaction.atomic():
        stored = append(message, stream="user-7")
    delivery.deliver.apply(([to_json(envelope(stored))],), headers={"queue": "orders"})
