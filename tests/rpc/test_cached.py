"""Cached responses: used while valid, invalidated by events, and never a delay for callers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import pytest
from django.conf import settings as project
from django.core.cache import cache
from django.db import transaction
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from protos.user_pb2_grpc import add_UserServiceServicer_to_server as add_to_server
from severable import topology
from severable.caching import backends as shop_cache
from severable.caching import reads as cached
from severable.caching.backends import (
    SKIP_SECONDS,
    CacheKey,
    FolderCache,
    ReadThroughCache,
    invalidate,
)
from severable.caching.stubs import caching
from severable.errors import NotFound
from severable.events import delivery, handlers
from severable.events.envelope import to_json
from severable.events.models import Delivery
from severable.events.queues import context_queues
from severable.events.store import append, envelope
from severable.rpc.client import stubs
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import Identity
from severable.rpc.server.registry import registry
from severable.topology import Cached, TopologyError
from tests.addresses import free_addresses
from tests.machine import settle
from tests.processes import ROOT
from tests.redis_server import Redis
from tests.rpc.test_channels import POLICY, Users, raising, serving
from tests.test_settings import manage
from tests.threads import together

ENTRY = Cached("user.UserService/GetUser", "users", 600, "user_id", ("user.UserUpdated",))
ENDINGS = [(entry, event) for entry in project.TOPOLOGY.cached for event in entry.invalidated_by]


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


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    monkeypatch.setattr(registry, "_handlers", dict(registry._handlers))
    monkeypatch.setattr(registry, "_services", dict(registry._services))
    servicer = Owner()
    add_to_server(servicer, registry)
    return servicer


@pytest.fixture
def redis(tmp_path: Path, settings: Any) -> Iterator[Redis]:
    """The cache is in a Redis of this test's own."""
    server = Redis(tmp_path)
    use_redis(settings, server.url)
    yield server
    server.stop()


@pytest.fixture(params=["folder", "redis"])
def kept(request: pytest.FixtureRequest, settings: Any) -> None:
    """In both kinds of cache."""
    if request.param == "redis":
        request.getfixturevalue("redis")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(owner: Owner, clock: Clock) -> UserServiceStub:
    return client(clock=clock)


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


def test_whoever_asks_again_does_not_trouble_the_owner(
    kept: None, owner: Owner, users: UserServiceStub
) -> None:
    assert [get(users).id for _ in range(3)] == [7, 7, 7]
    assert owner.calls == 1
    assert (get(users, 8).id, owner.calls) == (8, 2)


def test_an_answer_from_the_cache_is_nobody_elses(owner: Owner, users: UserServiceStub) -> None:
    """A shared message that one caller changes would be wrong for all."""
    for _ in range(2):
        answer = get(users)
        answer.name = "changed"
    assert (get(users).name, owner.calls) == ("", 1)


def test_a_method_that_is_not_cached_is_asked_each_time(
    owner: Owner, users: UserServiceStub
) -> None:
    for name in ("One", "Two"):
        owner.behaviour = named(name)
        assert users.UpdateUser(pb.UpdateUserRequest(user_id=7)).name == name


@pytest.mark.parametrize("channel", ["rest", "grpc"])
def test_futures_and_calls_share_what_is_kept(owner: Owner, channel: str) -> None:
    with serving(channel) as remote:
        reads = cached.CachedReads(cached.rules([ENTRY]), ReadThroughCache())
        policed = stubs.policed(remote, POLICY, Identity())
        method = UserServiceStub(caching(policed, POLICY, reads)).GetUser
        request = pb.GetUserRequest(user_id=7)
        assert method.future(request).result().id == 7
        deadline = time.monotonic() + 10  # gRPC tells who has called back at a time of its own
        while cached.responses.find(cache_key()).response is None:  # type: ignore[union-attr]
            assert time.monotonic() < deadline
        answer, call = method.with_call(request)
        assert (answer.id, call.code(), owner.calls) == (7, grpc.StatusCode.OK, 1)
        assert method.future(request).result().id == 7
        assert owner.calls == 1
        remote.close()


@pytest.mark.django_db
@pytest.mark.parametrize(("entry", "event"), ENDINGS, ids=str)
def test_each_event_of_the_topology_ends_what_it_changes(
    owner: Owner, users: UserServiceStub, monkeypatch: pytest.MonkeyPatch, entry: Cached, event: str
) -> None:
    invalidation_handlers = cached.invalidation_handlers(
        cached.rules(project.TOPOLOGY.cached), "orders"
    )
    monkeypatch.setattr(
        handlers, "_handlers", {handler.name: handler for handler in invalidation_handlers}
    )

    def ask(key: int) -> None:
        service, _, name = entry.method.partition("/")
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(method.input_type)
        getattr(users, name)(request(**{entry.key: key}))

    ask(7), ask(8)
    happened(event, **{entry.key: 7})
    assert Delivery.objects.get().state == "done"
    ask(8)
    assert owner.calls == 2
    ask(7)
    assert owner.calls == 3


def happened(event: str, **fields: Any) -> None:
    """An event is recorded, and comes to the queue of orders."""
    described = descriptor_pool.Default().FindMessageTypeByName(event)
    message: Message = message_factory.GetMessageClass(described)(**fields)
    with transaction.atomic():
        stored = append(message, stream="user-7")
    delivery.deliver.apply(([to_json(envelope(stored))],), headers={"queue": "orders"})


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


def test_answers_end_with_their_time(kept: None, owner: Owner) -> None:
    users = client(seconds=0.5)
    began = time.monotonic()
    while owner.calls < 2:
        get(users)
        assert time.monotonic() < began + 10
    assert time.monotonic() > began + 0.4


def test_of_fifty_who_find_nothing_one_asks(kept: None, owner: Owner) -> None:
    """A hot answer that ends would bring all of its readers to the owner at once."""
    users = client(seconds=0.2)
    get(users)
    while cached.responses.find(cache_key()).response is not None:  # type: ignore[union-attr]
        time.sleep(0.01)

    def slow(request: Any, context: Any) -> pb.UserResponse:
        time.sleep(0.1)
        return pb.UserResponse(id=7)

    owner.behaviour, users = slow, client()
    assert {answer.id for answer in together(50, lambda _: get(users, timeout=60))} == {7}
    assert owner.calls == 2


PROCESS = """
import sys, time, django; django.setup()
from pathlib import Path
from django.conf import settings
settings.CACHES["default"].setdefault("OPTIONS", {}).update(SOCKET_TIMEOUT=10)  # a busy machine
from tests.rpc.test_cached import Owner, add_to_server, client, get, registry
from tests.test_settings import manage
from tests.threads import together
folder, name = Path(sys.argv[1]), sys.argv[2]

class Slow(Owner):
    def GetUser(self, request, context):
        with (folder / "calls").open("a") as calls:
            calls.write("x")
        time.sleep(0.2)
        return super().GetUser(request, context)

add_to_server(Slow(), registry)
(folder / f"ready-{name}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
users = client()
together(25, lambda _: get(users, timeout=60))
"""


@pytest.mark.parametrize("kind", ["folder", "redis"])
def test_of_two_processes_one_asks(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    env = {**os.environ, "VAR_DIR": str(tmp_path), "CACHE_URL": ""}
    env |= {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": str(ROOT)}
    if kind == "redis":
        env["CACHE_URL"] = request.getfixturevalue("redis").url
    both = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path), name], env=env, cwd=ROOT)
        for name in ("one", "two")
    ]
    try:
        while len(list(tmp_path.glob("ready-*"))) < 2:
            assert all(process.poll() is None for process in both)
            time.sleep(0.01)
        (tmp_path / "go").touch()
        assert [process.wait(60) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert (tmp_path / "calls").read_text() == "x"


def test_whoever_comes_just_too_late_to_find_it_does_not_ask_again(
    kept: None, owner: Owner, users: UserServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding nothing and becoming the one who asks, another has asked and is gone."""
    claim = ReadThroughCache.claim

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(ReadThroughCache, "claim", claim)
        get(client())
        return claim(*arguments)

    monkeypatch.setattr(ReadThroughCache, "claim", late)
    assert (get(users).id, owner.calls) == (7, 1)
    assert ReadThroughCache().claim(cache_key(), 60), "nobody is asking any more"


def test_whoever_dies_while_asking_holds_nobody_up_for_long(
    kept: None, owner: Owner, users: UserServiceStub
) -> None:
    assert ReadThroughCache().claim(cache_key(), 60)
    began = time.monotonic()
    assert get(users, timeout=3.0).id == 7
    assert 1.5 <= time.monotonic() - began < 3
    assert (get(users).id, owner.calls) == (7, 1)


def test_whoever_asks_in_vain_lets_the_others_go_on(
    owner: Owner, users: UserServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a minute would be over otherwise."""
    assert ReadThroughCache().claim(cache_key(), 60)
    monkeypatch.setattr(cached, "sleep", lambda _: ReadThroughCache().release(cache_key()))
    began = time.monotonic()
    assert get(users, timeout=60).id == 7
    assert time.monotonic() - began < 15


def test_refusals_are_not_kept(owner: Owner, users: UserServiceStub) -> None:
    """Somebody who signs up would stay unknown."""
    owner.behaviour = raising(NotFound("nobody"))
    with pytest.raises(grpc.RpcError) as raised:
        get(users)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    owner.behaviour = named("Alice")
    assert get(users).name == "Alice"


def test_what_is_kept_is_there_when_the_owner_is_not(owner: Owner, users: UserServiceStub) -> None:
    get(users)
    owner.behaviour = lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
    for _ in range(POLICY.breaker_failures):
        with pytest.raises(grpc.RpcError):
            get(users, 8)
    assert get(users).id == 7


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


@pytest.mark.django_db
def test_what_cannot_be_ended_now_is_ended_later(
    redis: Redis,
    owner: Owner,
    users: UserServiceStub,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event that comes while the cache is away must not be counted as heard."""
    use_redis(settings, redis.url.replace("/0", "/1"), timeout=1)
    (forgetter,) = cached.invalidation_handlers(cached.rules([ENTRY]), "orders")
    monkeypatch.setattr(handlers, "_handlers", {forgetter.name: forgetter})
    owner.behaviour = named("old")
    get(users)
    redis.freeze()
    happened("user.UserUpdated", user_id=7)
    redis.thaw()
    row = Delivery.objects.get()
    assert (row.state, get(users).name) == ("waiting", "old")
    row.retry_now()
    settle()
    owner.behaviour = named("new")
    assert get(users).name == "new"


@pytest.mark.parametrize(
    ("placement", "deployment", "kept"),
    [
        ("one", "shop", set()),
        ("split", "orders", {"user.UserService/GetUser"}),
        ("split", "users", set()),  # it is its own
        ("split", "inventory", set()),  # calls nobody
        ("split", "gateway", set()),  # hears no events
    ],
)
def test_a_deployment_keeps_what_it_asks_others_and_hears_the_end_of(
    settings: Any, placement: str, deployment: str, kept: set[str]
) -> None:
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment(placement, deployment)
    assert {rule.entry.method for rule in cached.rules_here()} == kept


def test_without_a_cache_that_all_processes_share_nothing_is_kept(settings: Any) -> None:
    """What one machine ends, another would go on believing."""
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "orders")
    settings.CACHE_IS_SHARED = False
    assert cached.rules_here() == []


def test_the_queue_of_such_a_deployment_is_bound_to_what_ends_its_answers(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "notifications")
    monkeypatch.setattr(handlers, "_handlers", {})
    cached.subscribe()
    (queue,) = context_queues(settings.DEPLOYMENT.queues, {})
    assert {"user.UserUpdated", "user.AccessChanged"} <= {
        bound.routing_key for bound in queue.bindings
    }


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"method": "user.UserService/Nope"}, "Nope.: no contract has this method"),
        ({"method": "user.UserService/UpdateUser"}, "UpdateUser.: .* has side effects"),
        ({"key": "name"}, "key: user.GetUserRequest has no single 'name'"),
        ({"invalidated_by": ("user.Nope",)}, "invalidated_by: no contract has the event user.Nope"),
        (
            {"invalidated_by": ("user.UserResponse",)},
            "key: user.UserResponse has no single 'user_id'",
        ),
    ],
)
def test_what_no_contract_bears_out_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TopologyError, match=complaint):
        cached.rules([replace(ENTRY, **changes)])


@pytest.mark.parametrize(
    ("line", "by", "complaint"),
    [
        ("seconds = 600", "seconds = 0", r"GetUser.\.seconds: 0: input should be greater"),
        (
            "seconds = 600",
            'seconds = "10"',
            r"GetUser.\.seconds: '10': input should be a valid number",
        ),
        ("seconds = 600", "minutes = 10", r"GetUser.\.minutes: unknown key"),
        ("seconds = 600", "", r"GetUser.\.seconds: is missing"),
        (
            '["UserUpdated", "EmailConfirmed", "AccessChanged"]',
            "[]",
            r"GetUser.\.invalidated_by: \[\]: .* at least 1 item",
        ),
        ("user.UserService/GetUser", "cat.Cats/Get", "cat.Cats/Get.: no context has this method"),
        ("user.UserService/GetUser", "user.GetUser", "user.GetUser.: no context has this method"),
    ],
)
def test_an_entry_that_cannot_work_is_named(
    tmp_path: Path, line: str, by: str, complaint: str
) -> None:
    text = (ROOT / "topology.toml").read_text()
    assert line in text
    (tmp_path / "topology.toml").write_text(text.replace(line, by, 1))
    with pytest.raises(TopologyError, match=complaint):
        topology.load(tmp_path / "topology.toml")


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
