"""A cache that fails changes no answer and delays no caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protos.user_pb2_grpc import UserServiceStub
from severable.caching import backends as shop_cache
from severable.caching.backends import (
    SKIP_SECONDS,
    CacheKey,
)
from tests.addresses import free_addresses
from tests.caching.clients import (
    Clock,
    Owner,
    changed,
    get,
    named,
    use_redis,
)
from tests.redis_server import Redis


class Attempts:
    """Counts who goes to the cache, and how long the longest took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.seconds = 0, 0.0
        monkeypatch.setattr(shop_cache, "_find", self._counted(shop_cache._find))

    def _counted(self, find: Callable[[CacheKey], Any]) -> Callable[[CacheKey], Any]:
        def counted(asked: CacheKey) -> Any:
            self.count += 1
            began = time.monotonic()
            try:
                return find(asked)
            finally:
                self.seconds = max(self.seconds, time.monotonic() - began)

        return counted


def break_it(kind: str, settings: Any, tmp_path: Path) -> None:
    if kind == "nobody listens":
        use_redis(settings, f"redis://{free_addresses(1)[0]}/0")
    else:
        (tmp_path / "file").touch()
        settings.CACHES = {
            "default": {
                "BACKEND": "severable.caching.backends.FolderCache",
                "LOCATION": tmp_path / "file",
            }
        }


@pytest.mark.parametrize("kind", ["nobody listens", "no folder"])
def test_a_dead_cache_is_asked_once_in_a_while(
    kind: str,
    owner: Owner,
    users: UserServiceStub,
    clock: Clock,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_it(kind, settings, tmp_path)
    attempts = Attempts(monkeypatch)
    assert [get(users).id for _ in range(10)] == [7] * 10
    assert (attempts.count, owner.calls) == (1, 10)
    clock.now += SKIP_SECONDS
    get(users), get(users)
    assert attempts.count == 2


def test_a_frozen_cache_costs_its_timeout_once_and_is_used_again_when_it_is_back(
    redis: Redis,
    owner: Owner,
    users: UserServiceStub,
    clock: Clock,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_redis(settings, redis.url.replace("/0", "/1"), timeout=0.2)  # as in severable/settings.py
    get(users)
    attempts = Attempts(monkeypatch)
    redis.freeze()
    assert [get(users).id for _ in range(10)] == [7] * 10
    assert (attempts.count, owner.calls) == (1, 11)
    assert 0.15 < attempts.seconds < 3  # 0.2 on a machine that has time
    redis.thaw()
    clock.now += SKIP_SECONDS
    assert (get(users).id, owner.calls) == (7, 11)


def test_an_emptied_cache_changes_no_answer(
    redis: Redis, owner: Owner, users: UserServiceStub
) -> None:
    owner.behaviour = named("old")
    get(users)
    redis.empty()
    owner.behaviour = named("new")
    assert get(users).name == "new"
    changed()
    redis.empty()
    assert (get(users).name, owner.calls) == ("new", 3)
