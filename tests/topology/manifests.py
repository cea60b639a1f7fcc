"""Rendered manifests as tests look at them: read, validated, and asked what they allow."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate.utils
import pytest
import yaml
from django.conf import settings
from jsonschema.validators import validator_for

from severable.deploy import render
from severable.protos import events_pb2
from severable.rpc.transcoding import VARIABLE, rule
from severable.topology import Deployment, Topology
from tests.processes import ROOT

Resource = dict[str, Any]
SCHEMAS = Path(__file__).parent / "schemas"
KUBECTL = shutil.which("kubectl")
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)
NO_KUBECTL = "kubectl is not installed"
TOPOLOGY: Topology = settings.TOPOLOGY
PLACEMENTS = list(TOPOLOGY.placements)
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
HTTP, GRPC = 8000, 50051
HEALTH = "/grpc.health.v1.Health/Watch"
FEED = events_pb2.DESCRIPTOR.package


def documents(text: str) -> list[Any]:
    """Return the documents of a YAML text. The parser in C takes a tenth of the time."""
    return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def resources(topology: Topology, target: str, under: str = "") -> list[Resource]:
    """Return the rendered resources of all files whose path begins so."""
    return [
        document
        for path, text in render(topology, target).items()
        if path.startswith(under) and path.endswith(".yaml")
        for document in documents(text)
        if "kustomize" not in document["apiVersion"]
    ]


def overlay(topology: Topology, placement: str) -> list[Resource]:
    """Return the resources of a placement's overlay, with what it is based on and made of."""
    base, folder = "deploy/kubernetes/base", f"deploy/kubernetes/overlays/{placement}/"
    return resources(topology, "kubernetes", base) + resources(topology, "kubernetes", folder)


def mesh(topology: Topology, placement: str) -> list[Resource]:
    """Return what Istio adds to a placement's overlay."""
    return resources(topology, "istio", f"deploy/istio/{placement}/")


def of(kind: str, found: Iterable[Resource]) -> dict[str, Resource]:
    """Return the resources of a kind by their names."""
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pods(found: Iterable[Resource]) -> dict[str, Resource]:
    """Return the pod templates by the names of their Deployments and Jobs."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in found
        if each["kind"] in ("Deployment", "Job")
    }


def kustomize(folder: Path) -> list[Resource]:
    """Return what kubectl makes of a folder. Skips the test if there is no kubectl."""
    if KUBECTL is None:
        pytest.skip(NO_KUBECTL)
    done = subprocess.run(
        [KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def validate(resource: Resource) -> None:
    """Raise an exception for a resource that its schema does not allow, unknown keys included."""
    kind = f"{resource['apiVersion']}/{resource['kind']}"
    if kind in custom():
        custom()[kind].validate(resource)
    else:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@cache
def custom() -> dict[str, Any]:
    """Return the validators of the resources of Istio and KEDA by kind."""
    found = json.loads((SCHEMAS / "istio.json").read_text())
    found |= json.loads((SCHEMAS / "keda.json").read_text())
    schemas = {kind: _closed(schema, top=True) for kind, schema in found.items()}
    return {kind: validator_for(schema)(schema) for kind, schema in schemas.items()}


def _closed(schema: Any, top: bool = False) -> Any:
    """Return a schema that allows no other keys: a cluster would drop them without a word."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: value if key in ("oneOf", "anyOf", "not") else _closed(value)
        for key, value in schema.items()
    }
    if top:
        closed["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def selects(selector: Resource, labels: dict[str, str]) -> bool:
    """Return whether a label selector selects a pod."""
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def reaches(found: Iterable[Resource], source: Resource, target: Resource, port: int) -> bool:
    """Return whether NetworkPolicies let a pod reach a port of another one in its namespace, or
    from the namespace that it names."""
    policies = [each["spec"] for each in found if each["kind"] == "NetworkPolicy"]
    out = source.get("namespace") or _allows(policies, "egress", "to", source, target, port)
    return bool(out and _allows(policies, "ingress", "from", target, source, port))


def _allows(
    policies: list[Resource], way: str, peers: str, pod: Resource, peer: Resource, port: int
) -> bool:
    kind = way.capitalize()
    mine = [
        policy
        for policy in policies
        if kind in policy["policyTypes"] and selects(policy["podSelector"], pod["labels"])
    ]
    rules = [rule for policy in mine for rule in policy.get(way, ())]
    return not mine or any(
        any(each["port"] == port for each in rule["ports"])
        and (peers not in rule or any(_is(each, peer) for each in rule[peers]))
        for rule in rules
    )


def _is(peer: Resource, pod: Resource) -> bool:
    if "ipBlock" in peer:
        return False
    namespace = {"kubernetes.io/metadata.name": pod.get("namespace", "")}
    there = (
        selects(peer["namespaceSelector"], namespace)
        if "namespaceSelector" in peer
        else "namespace" not in pod
    )
    return there and selects(peer.get("podSelector", {}), pod["labels"])


def rooted(folder: Path) -> Path:
    """Return a copy of deploy/ in a folder, for tests that change it."""
    return Path(shutil.copytree(ROOT / "deploy", folder / "deploy"))


def labels(deployment: str, kind: str) -> Resource:
    """Return the pods of one kind of a deployment, as NetworkPolicies see them."""
    return {"labels": {NAME: deployment, COMPONENT: kind}}


def contracts(deployment: Deployment) -> list[str]:
    """Return the proto packages that a deployment serves."""
    served = [p for c in deployment.contexts if (p := TOPOLOGY.contexts[c].package)]
    return [*served, FEED] if served else []


def may_call(placement: str, caller: Deployment, callee: Deployment) -> bool:
    """Return whether topology.toml lets a deployment call any contract of another one."""
    return caller != callee and any(
        TOPOLOGY.may_call(placement, caller.name, package) for package in contracts(callee)
    )


def path_of(method: str) -> str:
    """The path of a call over REST."""
    return VARIABLE.sub("7", rule(method).template)
