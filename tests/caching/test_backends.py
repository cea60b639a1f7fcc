"""The folder and the Redis in which responses are: shared, bounded, and not trusted."""

from __future__ import annotations

import pickle
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from protos.user_pb2_grpc import UserServiceStub
from severable.caching.backends import (
    FolderCache,
)
from tests.caching.clients import (
    Owner,
    cache_key,
    get,
)
from tests.processes import manage
from tests.threads import together


def test_of_those_who_add_at_once_to_a_folder_one_wins(tmp_path: Path) -> None:
    folder = FolderCache(tmp_path / "cache", {})
    assert sum(together(16, lambda number: folder.add("key", number))) == 1


def test_reading_what_is_over_does_not_remove_what_is_new(tmp_path: Path) -> None:
    """Django's deletes an expired file by its name, under which somebody has put a new value."""
    folder = FolderCache(tmp_path, {})
    folder.set("key", "old", 0.001)
    (file,) = tmp_path.glob("*.djcache")
    opened = BytesIO(file.read_bytes())
    opened.name = str(file)
    time.sleep(0.01)
    folder.set("key", "new", 60)
    assert folder._is_expired(opened)
    assert folder.get("key") == "new"


def test_a_folder_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FolderCache, "CULL_CHANCE", 0.5)
    monkeypatch.setattr(FolderCache, "MAX_ENTRIES", 20)
    folder = FolderCache(tmp_path, {})
    for number in range(200):
        folder.set(str(number), number)
    assert len(list(tmp_path.glob("*.djcache"))) < 60


class Bomb:
    """Runs code in the process that unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


PLANT = """
from pathlib import Path
from django.conf import settings
from django.core.cache import cache
cache.set("key", ["value"], 60)
if settings.CACHE_URL:
    cache.client.get_client().set(cache.make_key("key"), {bomb!r})
else:
    (file,) = Path(cache._dir).glob("*.djcache")
    file.write_bytes({bomb!r})
print(cache.get("key"), cache.get_many(["key"]), cache.touch("key"))
cache.set("key", ["value"], 60)
print(cache.get("key"))
"""


@pytest.mark.parametrize("kind", ["redis", "folder"])
def test_what_is_planted_in_the_cache_is_not_executed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whoever could write to the Redis ran code in every process of the shop."""
    env = {"VAR_DIR": str(tmp_path)}
    if kind == "redis":
        env["CACHE_URL"] = request.getfixturevalue("redis").url
    executed = tmp_path / "executed"
    code = PLANT.format(bomb=pickle.dumps(Bomb(executed)))
    done = manage(env, "shell", "-v0", "-c", code)
    assert not executed.exists()
    assert done.stdout.splitlines()[-1:] == ["['value']"], done.stderr


def test_what_cannot_be_read_is_replaced(kept: None, owner: Owner, users: UserServiceStub) -> None:
    """An answer of an earlier version, which every reader fails on until it is over."""
    get(users)
    key = cache_key()
    if hasattr(cache, "_key_to_file"):
        Path(cache._key_to_file(key.response)).write_bytes(b"\x80no JSON")
    else:
        raw = cache.client.get_client()
        raw.set(cache.make_key(key.response), b"\x80no JSON")
    owner.calls = 0
    assert [get(users).id, get(users).id] == [7, 7]
    assert owner.calls == 1
