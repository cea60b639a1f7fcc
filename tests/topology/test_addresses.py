"""Where deployments are reached: at one address or at several, and what is no address is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from severable import topology
from severable.topology import Deployment, TopologyError
from tools import supervisor

TOPOLOGY = """
[contexts.a]
package = "a"
[calls]
timeout = 1
retries = 0
retry_budget = 0.2
concurrency = 1
breaker_failures = 1
breaker_seconds = 1
[placements.one.all]
contexts = ["a"]
http = {http}
grpc = {grpc}
"""
TWO = '["127.0.0.1:1", "127.0.0.1:2"]'


def loaded(folder: Path, http: str = '"127.0.0.1:1"', grpc: str = '"127.0.0.1:2"') -> Deployment:
    file = folder / "topology.toml"
    file.write_text(TOPOLOGY.format(http=http, grpc=grpc))
    return topology.load(file).deployment("one", None)


def test_one_address_or_several(tmp_path: Path) -> None:
    assert loaded(tmp_path).http == ("127.0.0.1:1",)
    assert loaded(tmp_path, http=TWO).http == ("127.0.0.1:1", "127.0.0.1:2")
    assert loaded(tmp_path, http='"[::1]:1"').http == ("[::1]:1",)
    assert loaded(tmp_path, grpc='["[::1]:1", "[::2]:1"]').grpc == ("[::1]:1", "[::2]:1")


def test_the_environment_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_ALL", "a.internal:80, b.internal:80")
    assert loaded(tmp_path).http == ("a.internal:80", "b.internal:80")


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"http": '"127.0.0.1"'}, "placements.one.all.http: '127.0.0.1' is no host:port"),
        ({"http": '"http://a:1"'}, "placements.one.all.http: 'http://a:1' is no host:port"),
        ({"http": '["a:1", "a:0"]'}, "placements.one.all.http: 'a:0' is no host:port"),
        ({"http": '["a:1", "a:1"]'}, "placements.one.all.http: 'a:1' is there twice"),
        ({"grpc": '"a:65536"'}, "placements.one.all.grpc: 'a:65536' is no host:port"),
        ({"grpc": "[]"}, "placements.one.all.grpc: no address"),
        ({"grpc": "8000"}, "placements.one.all.grpc: '8000' is no host:port"),
        ({"grpc": "[1]"}, "placements.one.all.grpc: '1' is no host:port"),
        ({"grpc": '["a:1", "b:1"]'}, "several gRPC addresses must be all"),
        ({"grpc": '["[::1]:1", "127.0.0.1:1"]'}, "must be all IPv4 or all IPv6"),
    ],
)
def test_what_is_no_address_is_named(
    tmp_path: Path, entries: dict[str, str], complaint: str
) -> None:
    with pytest.raises(TopologyError) as raised:
        loaded(tmp_path, **entries)
    assert complaint in str(raised.value)


@pytest.mark.parametrize("given", ["", "a:1,", "a:1;b:2"])
def test_what_is_no_address_in_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("HTTP_ALL", given)
    with pytest.raises(TopologyError, match=r"^HTTP_ALL: '.*' is no host:port"):
        loaded(tmp_path)


def test_each_address_has_a_web_process(tmp_path: Path) -> None:
    deployment = loaded(tmp_path, http=TWO, grpc='["127.0.0.1:3", "127.0.0.1:4"]')
    children = {child.name: child for child in supervisor.children(deployment)}
    assert list(children) == ["web 1", "web 2", "worker", "relay"]
    for number, http, grpc in ((1, "1", "127.0.0.1:3"), (2, "2", "127.0.0.1:4")):
        web = children[f"web {number}"]
        assert web.command[web.command.index("--port") + 1] == http
        assert web.environment["GRPC_LISTEN"] == grpc
    assert [c.name for c in supervisor.children(loaded(tmp_path))] == ["web", "worker", "relay"]


def test_a_web_process_without_its_grpc_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="'all': 2 addresses in http and 1 in grpc"):
        list(supervisor.children(loaded(tmp_path, http=TWO)))


def test_programs_read_them_as_lists(capsys: Any) -> None:
    call_command("topology", "--json")
    deployment = json.loads(capsys.readouterr().out)["split"]["users"]
    assert (deployment["http"], deployment["grpc"]) == (["127.0.0.1:8001"], ["127.0.0.1:50061"])
