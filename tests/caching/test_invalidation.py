"""Events invalidate cached responses, whatever is under way and whatever is down."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as project
from django.core.cache import cache
from google.protobuf import descriptor_pool, message_factory

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.caching import reads as cached
from severable.events import handlers
from severable.events.models import Delivery
from severable.topology import Cached
from tests.caching.clients import (
    ENTRY,
    Owner,
    cache_key,
    changed,
    get,
    happened,
    named,
    use_redis,
)
from tests.machine import settle
from tests.redis_server import Redis

ENDINGS = [(entry, event) for entry in project.TOPOLOGY.cached for event in entry.invalidated_by]


@pytest.mark.django_db
@pytest.mark.parametrize(("entry", "event"), ENDINGS, ids=str)
def test_each_event_of_the_topology_ends_what_it_changes(
    owner: Owner, users: UserServiceStub, entry: Cached, event: str
) -> None:
    invalidation_handlers = cached.invalidation_handlers(
        cached.rules(project.TOPOLOGY.cached), "orders"
    )

    def ask(key: int) -> None:
        service, _, name = entry.method.partition("/")
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(method.input_type)
        getattr(users, name)(request(**{entry.key: key}))

    ask(7), ask(8)
    with handlers.overridden(*invalidation_handlers):
        happened(event, **{entry.key: 7})
    assert Delivery.objects.get().state == "done"
    ask(8)
    assert owner.calls == 2
    ask(7)
    assert owner.calls == 3


def test_what_changes_while_it_is_being_asked_for_is_not_kept(
    kept: None, owner: Owner, users: UserServiceStub
) -> None:
    """The answer is older than the change, but comes to the cache after it."""

    def overtaken(request: Any, context: Any) -> pb.UserResponse:
        changed()
        return pb.UserResponse(name="old")

    owner.behaviour = overtaken
    assert get(users).name == "old"
    owner.behaviour = named("new")
    assert get(users).name == "new"


def test_a_generation_that_is_lost_brings_nothing_old_back(
    kept: None, owner: Owner, users: UserServiceStub
) -> None:
    owner.behaviour = named("old")
    get(users)
    cache.delete(cache_key().generation)
    changed()
    cache.delete(cache_key().generation)
    owner.behaviour = named("new")
    assert get(users).name == "new"


@pytest.mark.django_db
def test_what_cannot_be_ended_now_is_ended_later(
    redis: Redis,
    owner: Owner,
    users: UserServiceStub,
    settings: Any,
) -> None:
    """An event that comes while the cache is away must not be counted as heard."""
    use_redis(settings, redis.url.replace("/0", "/1"), timeout=1)
    (forgetter,) = cached.invalidation_handlers(cached.rules([ENTRY]), "orders")
    owner.behaviour = named("old")
    get(users)
    redis.freeze()
    with handlers.overridden(forgetter):
        happened("user.UserUpdated", user_id=7)
        redis.thaw()
        row = Delivery.objects.get()
        assert (row.state, get(users).name) == ("waiting", "old")
        row.retry_now()
        settle()
    owner.behaviour = named("new")
    assert get(users).name == "new"
