"""Every rendered resource is valid, kubectl builds all, and errors are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from yamllint import linter
from yamllint.config import YamlLintConfig

from severable.deploy import render
from tests.processes import ROOT
from tests.topology.manifests import (
    PLACEMENTS,
    TOPOLOGY,
    Resource,
    kustomize,
    mesh,
    of,
    pods,
    resources,
    rooted,
    selects,
    validate,
)

LINT = YamlLintConfig("{extends: relaxed, rules: {line-length: {max: 160}, indentation: disable}}")


@pytest.mark.parametrize("target", ["kubernetes", "istio"])
def test_every_resource_is_valid(target: str) -> None:
    found = resources(TOPOLOGY, target)
    assert len(found) > 50
    for resource in found:
        validate(resource)


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("Deployment", "spec.template.spec.container", []),
        ("Deployment", "spec.minReadySeconds", "soon"),
        ("HorizontalPodAutoscaler", "spec.maxReplicas", "many"),
        ("NetworkPolicy", "spec.podSelektor", {}),
        ("ScaledObject", "spec.minReplicas", 1),
        ("TriggerAuthentication", "spec.secretTargetRef", "users"),
        ("VirtualService", "spec.http.0.retry", {"attempts": 1}),
        ("VirtualService", "spec.http.1.retries.attempts", "two"),
        ("DestinationRule", "spec.trafficPolicy.loadBalancer.simple", "FAIREST"),
        ("AuthorizationPolicy", "spec.rules", {}),
        ("PeerAuthentication", "spec.mtls.mode", "STRICTEST"),
        ("RequestAuthentication", "spec.jwtRules.0.jwks_uri", ["x"]),
        ("Gateway", "spec.servers.0.port.number", "80"),
        ("Sidecar", "spec.egress.0.host", []),
    ],
)
def test_an_error_is_found(kind: str, path: str, wrong: Any) -> None:
    """A validator that lets everything pass would go unnoticed."""
    found = resources(TOPOLOGY, "kubernetes") + mesh(TOPOLOGY, "split")
    resource = list(of(kind, found).values())[-1]
    validate(resource)
    inner: Any = resource
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    inner[last] = wrong
    with pytest.raises(Exception, match=wrong if isinstance(wrong, str) else last):
        validate(resource)


@pytest.mark.parametrize("target", ["kubernetes", "istio"])
def test_yaml_is_written_well(target: str) -> None:
    texts = {p: t for p, t in render(TOPOLOGY, target).items() if p.endswith(".yaml")}
    texts |= {str(p): p.read_text() for p in (ROOT / "deploy/settings").glob("*.yaml")}
    for path, text in texts.items():
        assert [str(problem) for problem in linter.run(text, LINT)] == [], path
    assert list(linter.run("a: 1\na: 2\n", LINT)), "a key twice is found"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_kubectl_builds_what_is_committed(placement: str) -> None:
    built = kustomize(ROOT / "deploy/kubernetes/overlays" / placement)
    config = of("ConfigMap", built)
    for resource in built:
        validate(resource)
        namespaced = resource["metadata"].get("namespace")
        assert (resource["kind"] == "Namespace") or namespaced == TOPOLOGY.deploy.namespace  # type: ignore[union-attr]
    for pod in pods(built).values():
        for container in pod["spec"]["containers"]:
            for source in container.get("envFrom", ()):
                assert "secretRef" in source or source["configMapRef"]["name"] in config
    jobs = [pod for name, pod in pods(built).items() if "-prepare-" in name]
    named = {
        s["configMapRef"]["name"] for job in jobs for s in _sources(job) if "secretRef" not in s
    }
    assert named == {"prepare-settings"}, (
        "a Job cannot be changed, so neither may its settings' name"
    )


def _sources(pod: Resource) -> list[Resource]:
    found: list[Resource] = pod["spec"]["containers"][0]["envFrom"]
    return found


def test_kubectl_refuses_a_missing_file(tmp_path: Path) -> None:
    copy = rooted(tmp_path)
    (copy / "kubernetes/overlays/one/shop.yaml").unlink()
    with pytest.raises(AssertionError, match=r"shop\.yaml"):
        kustomize(copy / "kubernetes/overlays/one")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_keda_scales_the_workers(tmp_path: Path, placement: str) -> None:
    copy = rooted(tmp_path)
    folder = f"kubernetes/overlays/{placement}"
    text = f"resources: [deploy/{folder}]\ncomponents: [deploy/{folder}/keda]\n"
    (copy.parent / "kustomization.yaml").write_text(text)
    built = kustomize(copy.parent)
    scaled = of("ScaledObject", built)
    workers = {name: d for name, d in of("Deployment", built).items() if name.endswith("-worker")}
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scaled.values()} == workers.keys()
    for name, worker in workers.items():
        assert "replicas" not in worker["spec"], "applying would undo what KEDA has done"
        queues = [t["metadata"]["queueName"] for t in scaled[name]["spec"]["triggers"]]
        assert worker["spec"]["template"]["spec"]["containers"][0]["command"][-1] == ",".join(
            queues
        )


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_kubectl_builds_the_overlay_without_nginx(placement: str) -> None:
    built = kustomize(ROOT / "deploy/istio" / placement)
    for resource in built:
        validate(resource)
    there = pods(built)
    assert "edge" not in there and not of("Ingress", built)
    assert not [name for name in of("ConfigMap", built) if name.startswith("edge")]
    assert there["edge-istio"]["metadata"]["annotations"] == {
        "inject.istio.io/templates": "gateway"
    }
    [placed] = [m for name, m in of("ConfigMap", built).items() if name.startswith("placement-")]
    assert placed["data"]["SHOP_MESH"] == "1" and placed["data"]["SHOP_PLACEMENT"] == placement
    [namespace] = of("Namespace", built).values()
    assert namespace["metadata"]["labels"]["istio-injection"] == "enabled"
    for name, service in of("Service", built).items():
        assert "clusterIP" not in service["spec"], f"the mesh does not balance {name}"
        assert any(
            selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
            for pod in there.values()
        )
    for name, pod in there.items():
        if "-prepare-" in name:
            assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
