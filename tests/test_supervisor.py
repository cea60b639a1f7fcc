"""`make run`'s processes: started, started again, stopped; and what is wrong is said."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

import pytest
from django.conf import settings

from tests.chaos.running import ON_SERVERS, Shop
from tests.processes import ROOT, start
from tools import supervisor
from tools.processes import Child, Supervisor

pytestmark = pytest.mark.xdist_group("running")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(120)
def test_a_shop_from_its_start_to_its_end(shop: Shop) -> None:
    """One running shop for all that can be seen of it: starting one takes seconds."""
    before = shop.children()
    assert set(before) == {"web", "worker", "relay"}

    # Every child that dies comes back, and the shop answers again.
    for name, pid in before.items():
        shop.kill(name)
        shop.eventually(lambda n=name, p=pid: shop.children().get(n, p) != p, within=20)  # type: ignore[misc]
    shop.eventually(shop.ready, within=20)

    # What it prints works as printed.
    printed = (shop.folder / "log").read_text()
    script = re.search(r"(  TOKEN=.*?)\n\nCtrl-C", printed, re.S)
    assert script
    done = subprocess.run(
        ["bash", "-c", script[1]], capture_output=True, text=True, check=True, timeout=30
    )
    assert " 201 Created" in done.stdout
    assert '"status":"paid"' in done.stdout

    # It stops in good order, and nothing of it is left.
    last = shop.children()
    assert shop.stop() == 0
    assert "shop: stopped" in (shop.folder / "log").read_text()
    assert not any(alive(pid) for pid in last.values())


def test_children_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    """Else the port stays taken and the next `make run` fails."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells children that their parent died")
    running = Shop(tmp_path)
    running.start()
    assert running._supervisor
    children = running.children()
    running._supervisor.send_signal(signal.SIGKILL)
    running._supervisor.wait()
    running.eventually(lambda: not any(alive(pid) for pid in children.values()), within=20)
    running.close()


@ON_SERVERS
@pytest.mark.timeout(180)
def test_a_frozen_child_is_killed_and_started_again(tmp_path: Path) -> None:
    """It is alive, so it was left as it was, and with it all that it should do."""
    running = Shop(tmp_path, environment={"FROZEN_SECONDS": "8"})
    try:
        running.start()
        frozen = running.children()
        signs = [running.folder / "run" / f"shop-{name}" for name in ("worker", "relay")]
        running.eventually(lambda: all(sign.exists() for sign in signs), within=20)
        log = running.folder / "log"
        for pid in frozen.values():
            os.killpg(pid, signal.SIGSTOP)
        for name, pid in frozen.items():
            running.eventually(lambda n=name, p=pid: running.children().get(n, p) != p, within=60)  # type: ignore[misc]
            assert f"shop: {name} shows no sign of life" in log.read_text()
        running.eventually(running.ready, within=60)
    finally:
        running.close()


def test_a_supervisor_that_stood_still_kills_nothing() -> None:
    """A laptop that was closed for an hour would have all its processes killed."""
    child = Child("relay", [sys.executable, "-c", "input()"], alive=lambda: False)
    supervisor = Supervisor([child], frozen_seconds=60)
    child.start()
    assert child.process
    try:
        child.alive_at = monotonic() - 50
        supervisor._allow_for_pause(3600)
        child.alive_at -= 3600  # an hour has passed
        supervisor._keep_running(child)
        assert child.process.poll() is None
        child.alive_at -= 50
        supervisor._keep_running(child)
        assert child.process.wait(30) == -signal.SIGKILL
    finally:
        child.process.kill()
        child.process.wait()


SIGNAL_AT_ITS_WORST = """
import os, signal, sys
from tools.processes import Supervisor

def once_more(frame, event, arg):
    # Whoever has set an Event holds its lock here.
    if event == "call" and frame.f_code.co_name == "notify_all":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

supervisor = Supervisor([])
signal.signal(signal.SIGTERM, supervisor.stop)
sys.setprofile(once_more)
os.kill(os.getpid(), signal.SIGTERM)
supervisor.run(lambda stopping: None)
"""


def test_two_signals_close_together_stop_it() -> None:
    """The second one came while the first held a lock that its handler takes: a deadlock."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_ITS_WORST],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "shop: stopped\n"


@pytest.mark.parametrize("port", ["80a", "0", "70000", ""])
def test_a_port_that_is_none_is_named(port: str) -> None:
    done = start(port)
    assert done.returncode == 1
    assert f"PORT is {port!r}" in done.stderr


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"GRPC_SHOP": "nowhere"}, "shop: GRPC_SHOP: 'nowhere' is no host:port\n"),
        ({"GRPC_SHOP": "127.0.0.1:1,127.0.0.1:2"}, "'shop': 1 addresses in http and 2 in grpc"),
        ({"TLS_CERT": "/nowhere"}, "shop: TLS_CERT: there is no file '/nowhere'\n"),
    ],
)
def test_what_cannot_be_started_is_named(env: dict[str, str], complaint: str) -> None:
    done = start("8000", **env)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_production_names_no_demo_accounts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It printed "admin / admin" over a shop that has no such account."""
    monkeypatch.setattr(supervisor, "_answers", lambda *args: True)
    monkeypatch.setenv("SHOP_ENV", "production")
    supervisor.welcome([settings.TOPOLOGY.deployment("one", None)])(threading.Event())
    printed = capsys.readouterr().out
    assert printed == "shop: open at http://127.0.0.1:8000, gRPC at 127.0.0.1:50051\n"


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = start(port)
    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr


def test_what_keeps_dying_is_started_ever_more_seldom() -> None:
    child = Child("web", ["false"])
    child.started = float("inf")
    assert [child.pause() for _ in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]
