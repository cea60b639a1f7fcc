"""docker-compose.yml: valid, complete in itself, without a secret, and what topology.toml says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.conf import settings
from django.urls import resolve

from severable import keys, topology
from severable.deploy import compose, render
from tests.processes import ROOT

TEXT = render(settings.TOPOLOGY, "compose")[compose.PATH]
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
REFERENCE = re.compile(r"\$\{(\w+)(:[-?])?([^}]*)\}")
PORTS = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379, "otel-collector": 4318}
PROCESSES = {name: own for name, own in SERVICES.items() if name.count("-") == 2}
WEB = {name: own for name, own in PROCESSES.items() if name.endswith("-web")}
HEALTHY = ("service_healthy", True)


def valid(file: Path) -> subprocess.CompletedProcess[str]:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*check, file], capture_output=True, text=True, check=False)


def test_the_specification_has_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(TEXT)
    assert valid(file).returncode == 0, valid(file).stdout
    for right, wrong in (("healthcheck:", "healthchek:"), ("profiles: [split]", "profiles: split")):
        assert right in TEXT
        file.write_text(TEXT.replace(right, wrong))
        assert valid(file).returncode == 1, wrong


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_a_client_reads_it_and_says_what_makes_the_secrets(tmp_path: Path) -> None:
    def read(placement: str, *variables: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "env").write_text("\n".join(variables))
        command = ["docker-compose", "-f", ROOT / compose.PATH, "--env-file", tmp_path / "env"]
        return subprocess.run(
            [*command, "--profile", placement, "config"],
            capture_output=True,
            text=True,
            check=False,
        )

    names = {name for name, how, _ in REFERENCE.findall(TEXT) if how == ":?"}
    for placement in settings.TOPOLOGY.placements:
        done = read(placement, *(f"{name}=given-{name}" for name in names))
        assert done.returncode == 0, done.stderr
        read_services = yaml.safe_load(done.stdout)["services"]
        assert f"{placement}-edge" in read_services
        url = "postgres://shop:given-POSTGRES_PASSWORD@postgres:5432/shop"
        web = next(name for name in read_services if name.startswith(placement) and "web" in name)
        assert read_services[web]["environment"]["DATABASE_URL"] == url
    refused = read("one")
    assert refused.returncode == 1 and compose.MAKE_ENV in refused.stderr


def addresses(service: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Yield the variable, the host and the port of all that a service is told to reach."""
    for name, value in service.get("environment", {}).items():
        if name.startswith(("HTTP_", "GRPC_")) and name != "GRPC_LISTEN":
            host, _, port = value.partition(":")
            yield name, host, int(port)
        elif name.endswith(("_URL", "_ENDPOINT")) and "://" in value:
            found = urlsplit(REFERENCE.sub("given", value))
            assert found.hostname and found.port
            yield name, found.hostname, found.port


@pytest.mark.parametrize("name", PROCESSES)
def test_what_a_process_calls_is_there_in_its_placement_and_listens(name: str) -> None:
    """A host of another profile, or on no network of the caller, answers nobody."""
    own, found = SERVICES[name], list(addresses(SERVICES[name]))
    assert {"DATABASE_URL", "BROKER_URL", "CACHE_URL"} <= {variable for variable, *_ in found}
    for variable, host, port in found:
        peer = SERVICES[host]
        assert peer.get("profiles", own["profiles"]) == own["profiles"], variable
        assert set(peer["networks"]) & set(own["networks"]), variable
        assert port == served(host, variable), variable


def served(host: str, variable: str) -> int:
    if host in PORTS:
        return PORTS[host]
    own = SERVICES[host]
    if variable.startswith("GRPC_"):
        return int(own["environment"]["GRPC_LISTEN"].removeprefix("0.0.0.0:"))
    return int(own["command"][own["command"].index("--port") + 1])


def test_what_a_service_waits_for_can_come() -> None:
    for name, own in SERVICES.items():
        for other, wait in own.get("depends_on", {}).items():
            peer = SERVICES[other]
            assert peer.get("profiles", own.get("profiles")) == own.get("profiles"), name
            job = wait["condition"] == "service_completed_successfully"
            assert job == (peer["restart"] == "no"), (name, other)
            assert job or (wait["condition"], "test" in peer["healthcheck"]) == HEALTHY
    for name, own in PROCESSES.items():
        if not name.endswith("-prepare"):
            assert list(own["depends_on"]) == [re.sub(r"\w+$", "prepare", name)]


def test_all_are_probed_and_a_web_process_where_it_serves() -> None:
    for name, own in SERVICES.items():
        assert ("test" in own["healthcheck"]) != (own["restart"] == "no"), name
    for name, own in WEB.items():
        found = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", own["healthcheck"]["test"][-1])
        assert found and int(found[1]) == served(name, "HTTP_") and resolve(found[2])
    assert resolve("/health/live")  # of the edge


def test_commands_are_those_of_the_procfile() -> None:
    for placement in settings.TOPOLOGY.placements:
        lines = (ROOT / "deploy/procfile" / placement).read_text().splitlines()
        here = {
            line.partition(": ")[0]: bare(line.partition(": ")[2])
            for line in lines
            if not line.startswith("#")
        }
        prepare = {bare(line.lstrip("# ")) for line in lines if line.startswith("#   ")}
        there = {
            name.removeprefix(f"{placement}-"): tuple(own["command"])
            for name, own in PROCESSES.items()
            if own["profiles"] == [placement]
        }
        jobs = {there.pop(name) for name in list(there) if name.endswith("-prepare")}
        assert {name: listening_anywhere(command) for name, command in here.items()} == there
        assert prepare == jobs


def bare(line: str) -> tuple[str, ...]:
    words = shlex.split(line)
    return tuple(
        words[next(i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word)) :]
    )


def listening_anywhere(command: tuple[str, ...]) -> tuple[str, ...]:
    words = list(command)
    if "--port" in words:
        words[words.index("--host") + 1] = "0.0.0.0"
        words[words.index("--port") + 1] = "8000"
    return tuple(words)


def test_databases_are_out_of_the_edges_reach_and_only_the_edge_is_public() -> None:
    networks = yaml.safe_load(TEXT)["networks"]
    for placement in settings.TOPOLOGY.placements:
        edge = SERVICES[f"{placement}-edge"]
        for server in ("postgres", "rabbitmq", "redis"):
            assert not set(edge["networks"]) & set(SERVICES[server]["networks"])
            assert all(networks[name]["internal"] for name in SERVICES[server]["networks"])
    for name, own in SERVICES.items():
        for port in own.get("ports", ()):
            assert name.endswith("-edge") or port.startswith("127.0.0.1:"), name


def test_every_service_is_confined() -> None:
    for name, own in SERVICES.items():
        assert own["read_only"] and own["cap_drop"] == ["ALL"], name
        assert own["security_opt"] == ["no-new-privileges:true"], name
        assert str(own["user"]).partition(":")[0] not in ("", "0", "root"), name
        assert own["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert re.search(r":-?\w*:?[\w.-]*\d", own["image"]) and ":latest" not in own["image"], name


def test_nothing_in_it_is_secret() -> None:
    secret = re.compile(r"(KEY|KEYS|TOKEN|PASSWORD|PASS|SECRET)$")
    for name, own in SERVICES.items():
        for variable, value in own.get("environment", {}).items():
            rest = REFERENCE.sub("", value)
            if secret.search(variable):
                assert rest == "", (name, variable)
            if "@" in rest:
                assert urlsplit(rest).password == "", (name, variable)


def made() -> dict[str, str]:
    """Return the variables of the .env that the named command prints."""
    lines = [line.partition("=") for line in keys.environment().splitlines()]
    return {name: value.strip("'") for name, _, value in lines}


def test_every_variable_has_a_default_or_is_made_by_the_command_that_is_named() -> None:
    assert {name for name, how, _ in REFERENCE.findall(TEXT) if how != ":-"} <= made().keys()


def test_every_deployment_is_given_all_that_a_shop_in_production_needs() -> None:
    """A setting that a context needs and topology.toml does not list would end its processes."""
    given = made()

    def value(found: re.Match[str]) -> str:
        return given.get(found[1]) or found[3]

    for name, own in PROCESSES.items():
        if name.startswith("split-") and name.endswith("-prepare"):
            told = {k: REFERENCE.sub(value, v) for k, v in own["environment"].items()}
            told |= {"SHOP_TOPOLOGY": str(ROOT / "topology.toml"), "PATH": os.environ["PATH"]}
            command = [sys.executable, "manage.py", "check"]
            done = subprocess.run(
                command, cwd=ROOT, env=told, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (name, done.stderr)


def test_what_is_mounted_is_there() -> None:
    rendered = render(settings.TOPOLOGY, "all")
    for name, own in SERVICES.items():
        for volume in own.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert source[2:] in rendered or (ROOT / source).exists(), name


def test_the_edge_publishes_the_port_that_it_listens_at() -> None:
    for placement in settings.TOPOLOGY.placements:
        (port,) = SERVICES[f"{placement}-edge"]["ports"]
        config = render(settings.TOPOLOGY, "nginx")[f"deploy/nginx/{placement}.conf"]
        assert re.search(rf"listen\s+(\S*:)?{port.rpartition(':')[2]}\b", config)


@pytest.mark.parametrize(
    ("right", "wrong", "where", "shown"),
    [
        ("replicas = 2\n", "replicas = 3\n", "split-orders-web", "'replicas': 3"),
        ("memory = 384 ", "memory = 400 ", "split-orders-web", "'memory': '400M'"),
        ("connections = 4\n", "connections = 5\n", "split-orders-worker", "DATABASE_POOL': '5'"),
        ("database_connections = 500", "database_connections = 600", "postgres", "ections=600"),
        ("grace = 50.0", "grace = 60.0", "split-orders-web", "'stop_grace_period': '60s'"),
        ('"shop:0.1.0"', '"shop:0.2.0"', "one-shop-relay", "shop:0.2.0"),
        ("timeout = 5.0", "timeout = 4.0", "split-orders-web", "'topology': "),
    ],
)
def test_a_change_of_the_topology_changes_it(
    tmp_path: Path, right: str, wrong: str, where: str, shown: str
) -> None:
    """The processes read what else has changed, such as a timeout, when they start again."""
    file = tmp_path / "topology.toml"
    text = (ROOT / "topology.toml").read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    changed = yaml.safe_load(compose.render(topology.load(file))[compose.PATH])["services"]
    assert changed[where] != SERVICES[where]
    assert shown in str(changed[where])
