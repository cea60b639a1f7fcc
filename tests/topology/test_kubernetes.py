"""The manifests for Kubernetes fit together, and the processes of a placement."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.urls import resolve

from severable.deploy import render
from severable.deploy.workloads import SECRETS, secrets
from severable.deploy.workloads import settings as shown
from severable.topology import Topology
from tests.processes import ROOT
from tests.topology.manifests import (
    COMPONENT,
    HTTP,
    KUBECTL,
    NAME,
    NO_KUBECTL,
    PLACEMENTS,
    TOPOLOGY,
    of,
    overlay,
    pods,
    resources,
    selects,
)


def changed(**deploy: Any) -> Topology:
    assert TOPOLOGY.deploy
    return replace(TOPOLOGY, deploy=replace(TOPOLOGY.deploy, **deploy))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_selectors_and_ports_are_those_of_pods(placement: str) -> None:
    found = overlay(TOPOLOGY, placement)
    there = pods(found)
    for name, deployment in of("Deployment", found).items():
        assert selects(deployment["spec"]["selector"], there[name]["metadata"]["labels"])
    for service in of("Service", found).values():
        chosen = [
            pod
            for pod in there.values()
            if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
        ]
        assert len(chosen) == 1, service["metadata"]["name"]
        open_ports = {p["name"] for p in chosen[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= open_ports
    accounts = of("ServiceAccount", found)
    for pod in there.values():
        assert pod["spec"]["serviceAccountName"] in accounts
    for budget in of("PodDisruptionBudget", found).values():
        chosen = [
            p
            for p in there.values()
            if selects(budget["spec"]["selector"], p["metadata"]["labels"])
        ]
        assert len(chosen) == 1
    for scaler in of("HorizontalPodAutoscaler", found).values():
        target = of("Deployment", found)[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"], "applying would undo what the autoscaler has done"


def environment(placement: str) -> dict[str, str]:
    text = render(TOPOLOGY, "kubernetes")[
        f"deploy/kubernetes/overlays/{placement}/kustomization.yaml"
    ]
    [literals] = [
        each["literals"]
        for each in yaml.safe_load(text)["configMapGenerator"]
        if each["name"] == "placement"
    ]
    return dict(each.split("=", 1) for each in literals)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_deployments_find_each_other(placement: str) -> None:
    """An address that no Service has would be seen only when the first call is made."""
    services = of("Service", overlay(TOPOLOGY, placement))
    found = environment(placement)
    assert found["SHOP_PLACEMENT"] == placement
    for deployment, kind in product(TOPOLOGY.placements[placement], ("http", "grpc")):
        host, _, port = found[f"{kind}_{deployment}".upper()].partition(":")
        [own] = services[host]["spec"]["ports"]
        assert (own["name"], own["port"]) == (kind, int(port))
        assert services[host]["spec"]["selector"] == {NAME: deployment, COMPONENT: "web"}
        headless = services[host]["spec"].get("clusterIP") == "None"
        assert headless == (kind == "grpc"), "callers of gRPC choose among the pods' addresses"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_commands_are_those_of_the_procfile(placement: str) -> None:
    lines = (ROOT / "deploy/procfile" / placement).read_text().splitlines()
    expected = dict(line.split(": ", 1) for line in lines if not line.startswith("#"))
    there = {
        name: pod for name, pod in pods(overlay(TOPOLOGY, placement)).items() if name in expected
    }
    assert there.keys() == expected.keys()
    shared = environment(placement)
    for name, line in expected.items():
        container = there[name]["spec"]["containers"][0]
        words = shlex.split(line)
        local = words[words.index("python") :]
        given = container["command"]
        for option, value in (("--host", "0.0.0.0"), ("--port", str(HTTP))):
            if option in local:
                local[local.index(option) + 1] = value
        assert given == local
        variables = dict(word.split("=", 1) for word in words[: words.index("python")])
        inside = {each["name"]: each["value"] for each in container["env"]} | shared
        for key in ("SHOP_PLACEMENT", "SHOP_DEPLOYMENT", "DATABASE_POOL"):
            assert inside[key] == variables[key]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_rollout_waits_for_migrations(placement: str) -> None:
    """A new version that meets the tables of an old one would fail until the Job has ended."""
    found = pods(overlay(TOPOLOGY, placement))
    for deployment in TOPOLOGY.deployments(placement):
        [job] = [
            pod for name, pod in found.items() if name.startswith(f"{deployment.name}-prepare-")
        ]
        [container] = job["spec"]["containers"]
        assert container["command"] == ["python", "manage.py", "prepare"]
        assert {"name": "SHOP_DEPLOYMENT", "value": deployment.name} in container["env"]
        web = found[f"{deployment.name}-web"]["spec"]["containers"][0]
        assert web["readinessProbe"]["httpGet"]["path"] == "/health/ready"
        for kind in set(deployment.kinds) - {"web"}:
            [first] = found[f"{deployment.name}-{kind}"]["spec"]["initContainers"]
            assert first["command"] == ["python", "manage.py", "migrate", "--check"]


def test_another_version_has_other_jobs() -> None:
    """Applying a Job that has changed fails, for a Job cannot be changed."""
    jobs = [set(of("Job", overlay(t, "split"))) for t in (TOPOLOGY, changed(image="shop:0.2.0"))]
    assert len(jobs[0]) == len(jobs[1]) == len(TOPOLOGY.placements["split"])
    assert not jobs[0] & jobs[1]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_probes_ask_for_what_is_there(placement: str) -> None:
    for name, pod in pods(overlay(TOPOLOGY, placement)).items():
        for container in pod["spec"]["containers"]:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind, {})
                if "httpGet" in probe:
                    resolve(probe["httpGet"]["path"])
                    assert probe["httpGet"]["port"] in {p["name"] for p in container["ports"]}
                elif "exec" in probe:
                    assert probe["exec"]["command"][:3] == ["python", "-m", "severable.heartbeat"]
                    assert "SHOP_HEARTBEAT" in {each["name"] for each in container["env"]}
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        drain = {e["name"]: e["value"] for e in pod["spec"]["containers"][0].get("env", ())}
        assert grace > float(drain.get("DRAIN_SECONDS", 0)), name


@pytest.mark.parametrize("target", ["kubernetes", "istio"])
def test_pods_are_restricted(target: str) -> None:
    """The namespace has Pod Security "restricted": a pod that is not would not be made."""
    for name, pod in pods(resources(TOPOLOGY, target)).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name
            if container["image"] != "auto":  # Istio's injection brings the rest
                own = container["securityContext"]
                assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
                assert own["capabilities"] == {"drop": ["ALL"]}


def test_no_secret_is_in_any_file() -> None:
    names = {n for d in TOPOLOGY.deployments("one") for n in secrets(TOPOLOGY, d)}
    assert names > set(SECRETS)
    for target in ("kubernetes", "istio"):
        found = resources(TOPOLOGY, target)
        assert not of("Secret", found) and not of("ConfigMap", found)
        for pod in pods(found).values():
            for container in pod["spec"]["containers"]:
                assert not names & {each["name"] for each in container.get("env", ())}
    for placement in PLACEMENTS:
        assert not names & environment(placement).keys()
    assert not names & operator_settings()


def operator_settings() -> set[str]:
    lines = (ROOT / "deploy/settings/settings.env").read_text().splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}


def test_the_operator_finds_every_setting() -> None:
    """A setting that only topology.toml names would be missed when the shop is started."""
    wanted = {n for d in TOPOLOGY.deployments("one") for n in shown(TOPOLOGY, d)}
    assert operator_settings() == wanted


@pytest.mark.skipif(KUBECTL is None, reason=NO_KUBECTL)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_script_makes_each_deployment_its_secret(tmp_path: Path, placement: str) -> None:
    # kubectl itself, but for `apply`, which would need a cluster.
    shim = tmp_path / "kubectl"
    shim.write_text(
        f'#!/bin/sh\n[ "$1" = apply ] && {{ cat; echo ---; exit; }}\nexec {KUBECTL} "$@"\n'
    )
    shim.chmod(0o755)
    script = ROOT / "deploy/kubernetes/overlays" / placement / "secrets.sh"
    names = {n for d in TOPOLOGY.deployments(placement) for n in secrets(TOPOLOGY, d)}
    given = {name: f"value of {name}" for name in names} | {"JWT_PRIVATE_KEY": "-----\\nMII="}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(script)],
            env={"PATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run(**given)
    assert done.returncode == 0, done.stderr
    made = of("Secret", filter(None, yaml.safe_load_all(done.stdout)))
    wanted = {
        source["secretRef"]["name"]
        for pod in pods(overlay(TOPOLOGY, placement)).values()
        for source in pod["spec"]["containers"][0].get("envFrom", ())
        if "secretRef" in source
    }
    assert made.keys() == wanted
    for deployment in TOPOLOGY.deployments(placement):
        keys = made[f"{deployment.name}-secrets"]["data"].keys()
        assert keys == set(secrets(TOPOLOGY, deployment))
    missing = run(**{k: v for k, v in given.items() if k != "SERVICE_KEY"})
    assert (missing.returncode, missing.stderr) == (1, "SERVICE_KEY must be set\n")
    two_lines = run(**given | {"SERVICE_KEY": "a\nDATABASE_URL=b"})
    assert (two_lines.returncode, two_lines.stderr) == (1, "SERVICE_KEY: write newlines as \\n\n")
    assert "Secret" not in missing.stdout + two_lines.stdout, "half a Secret is worse than none"


def test_a_change_of_the_topology_changes_the_files() -> None:
    before = render(TOPOLOGY, "kubernetes")
    split = TOPOLOGY.placements["split"]["users"]
    assert split.processes
    web = replace(split.processes.web, max_replicas=7, memory=512)
    users = replace(split, processes=replace(split.processes, web=web))
    placements = {**TOPOLOGY.placements, "split": {**TOPOLOGY.placements["split"], "users": users}}
    after = render(replace(TOPOLOGY, placements=placements), "kubernetes")
    path = "deploy/kubernetes/overlays/split/"
    assert {p for p in after if after[p] != before[p]} == {
        path + "users.yaml",
        path + "prepare.yaml",
    }
    assert "maxReplicas: 7" in after[path + "users.yaml"]
    longer = render(changed(drain=7.5, grace=60.0), "kubernetes")
    assert "{name: DRAIN_SECONDS, value: '7.5'}" in longer[path + "users.yaml"]
    assert "terminationGracePeriodSeconds: 60" in longer[path + "users.yaml"]
