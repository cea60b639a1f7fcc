"""nginx's configuration is what topology.toml says, and nginx accepts it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from severable.deploy import nginx
from severable.topology import TopologyError
from tests.edge.running import command
from tests.processes import ROOT

TOPOLOGY = settings.TOPOLOGY
FILES = nginx.render(TOPOLOGY)
SPLIT = "deploy/nginx/split.conf"


def refused(folder: Path, text: str) -> str:
    """Return what nginx has to say of a configuration; nothing if it accepts it."""
    here = text.replace("/tmp/", f"{folder}/")
    done = subprocess.run(
        command(folder, here, "-t", "-q"), capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("path", FILES)
def test_nginx_accepts_what_is_rendered(tmp_path: Path, path: str) -> None:
    assert refused(tmp_path, (ROOT / path).read_text()) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("proxy_redirect off;", "proxy_redirect off"),
        ("proxy_read_timeout", "proxy_reading_timeout"),
        ('"~^/api/orders(/', '"~^/api/orders((/'),
        ("client_max_body_size 1048576", "client_max_body_size much"),
    ],
)
def test_nginx_refuses_a_planted_error(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in FILES[SPLIT]
    assert "emerg" in refused(tmp_path, FILES[SPLIT].replace(right, wrong))


def changed(**edge: Any) -> dict[str, str]:
    """Return the lines that a change of [edge] adds to the file of placement split."""
    rendered = nginx.render(replace(TOPOLOGY, edge=replace(TOPOLOGY.edge, **edge)))[SPLIT]
    added = set(rendered.splitlines()) - set(FILES[SPLIT].splitlines())
    return dict(line.strip(" ;").split(" ", 1) for line in added)


def test_timeouts_and_limits_are_those_of_the_topology() -> None:
    assert changed(timeout=7.5) == dict.fromkeys(
        ("proxy_read_timeout", "proxy_send_timeout"), "7500ms"
    )
    assert changed(body_limit=2048) == {"client_max_body_size": "2048"}
    of_clients = ("client_body_timeout", "client_header_timeout")
    assert changed(body_timeout=3.0) == dict.fromkeys(of_clients, "3000ms")


def test_nothing_is_sent_again_unless_the_topology_says_so() -> None:
    assert "proxy_next_upstream off;" in FILES[SPLIT]
    assert changed(retries=2) == {
        "proxy_next_upstream": "error timeout",
        "proxy_next_upstream_tries": "3",
    }


def test_only_proxies_that_are_named_say_where_a_request_comes_from(tmp_path: Path) -> None:
    network = ip_network("10.1.0.0/16")
    assert changed(proxies=(network,)) == {"set_real_ip_from": "10.1.0.0/16", "10.1.0.0/16": "1"}
    edge = replace(TOPOLOGY.edge, proxies=(network,))
    assert refused(tmp_path, nginx.render(replace(TOPOLOGY, edge=edge))[SPLIT]) == ""


def test_a_route_leads_to_the_deployment_of_its_context() -> None:
    contexts = dict(TOPOLOGY.contexts)
    contexts["users"] = replace(contexts["users"], routes=("/api/people",))
    rendered = nginx.render(replace(TOPOLOGY, contexts=contexts))
    assert r'"~^/api/people(/|\z)" split-users-web:8000;' in rendered[SPLIT]
    assert "/api/users" not in rendered[SPLIT]
    assert r'"~^/api/people(/|\z)" one-shop-web:8000;' in rendered["deploy/nginx/one.conf"]


@pytest.mark.parametrize(
    ("path", "deployment"),
    [
        ("/api/orders", "orders"),
        ("/api/orders/1/cancel", "orders"),
        ("/api/orders/1/summary", "gateway"),
        ("/api/orders/1/2/summary", "orders"),
        ("/api/orders/1/summary/x", "orders"),
        ("/api/ordersX", "gateway"),
        ("/api/orders\n", "gateway"),
        ("/api/admin/orders", "orders"),
        ("/.well-known/jwks.json", "users"),
        ("/xwell-known/jwks.json", "gateway"),
        ("/health/live", "gateway"),
        ("/", "gateway"),
    ],
)
def test_the_first_route_that_fits_is_that_of_the_path(path: str, deployment: str) -> None:
    hosts = list(_hosts_of(path, FILES[SPLIT]))
    assert hosts[0] == f"split-{deployment}-web:8000"


def _hosts_of(path: str, text: str) -> Iterator[str]:
    for pattern, host in re.findall(r'^ +"~(\S+)" (\S+:\d+);$', text, re.M):
        if re.search(pattern.replace(r"\z", r"\Z"), path):
            yield host


def test_without_an_edge_there_is_nothing_to_render() -> None:
    with pytest.raises(TopologyError, match=r"\[edge\] is missing"):
        nginx.render(replace(TOPOLOGY, edge=None))


def test_the_limit_of_a_body_is_that_of_contexts() -> None:
    """A larger one at the edge is refused by the context, with another text."""
    assert TOPOLOGY.edge.body_limit == settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def test_every_header_that_the_code_reads_is_passed_on() -> None:
    """nginx passes on those that it knows: a new one works in one process, and not behind it."""
    read = re.compile(
        r'request\.headers(?:\.get\(|\[)\s*"([\w-]+)"|"([\w-]+)" (?:not )?in request\.h'
    )
    sources = [*(ROOT / "apps").rglob("*.py"), *(ROOT / "severable/api").rglob("*.py")]
    found = {a or b for source in sources for a, b in read.findall(source.read_text())}
    assert {"Idempotency-Key", "Prefer"} <= found
    found.remove("grpc-timeout")  # internal: no request from outside has it
    assert {name.lower() for name in found} - {name.lower() for name in nginx.PASSED} == set()
