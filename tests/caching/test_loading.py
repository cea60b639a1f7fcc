"""Of many callers that find no response one calls the owner, and none waits for long."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.caching import reads as cached
from severable.caching.backends import (
    ReadThroughCache,
)
from tests.caching.clients import (
    Owner,
    cache_key,
    client,
    get,
)
from tests.processes import ROOT
from tests.threads import together


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
from protos.user_pb2_grpc import add_UserServiceServicer_to_server as add_to_server
from severable.rpc import registry
from tests.caching.clients import Owner, client, get
from tests.processes import manage
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
