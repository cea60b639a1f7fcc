"""Services, autoscalers and disruption budgets of a deployment."""

from __future__ import annotations

from severable.deploy.kubernetes.pods import cores, scaled
from severable.deploy.kubernetes.resources import (
    Resource,
    grpc_service,
    labeled,
    labels,
    resource,
    selector,
)
from severable.deploy.workloads import GRPC_PORT, HTTP_PORT, Workload

CPU_SHARE = 0.7  # of a pod's cores, above which pods are added
# Add pods quickly and remove them slowly: callers of a removed pod must find another one.
SCALE_DOWN_SECONDS = 300


def account(name: str) -> Resource:
    """Return the identity of a deployment's pods. It may do nothing in the cluster."""
    return resource("v1", "ServiceAccount", name, automountServiceAccountToken=False)


def services(deployment: str) -> list[Resource]:
    """Return the Services of a deployment's web processes, for HTTP and for gRPC.

    The Service for gRPC is headless: its name resolves to the addresses of all pods, and each
    caller spreads its calls over them (docs/decisions/0012).
    """
    http = {"name": "http", "port": HTTP_PORT, "targetPort": "http", "appProtocol": "http"}
    grpc = {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "grpc"}
    pods = labels(deployment, "web")
    by_name = {"clusterIP": "None", "selector": pods, "ports": [grpc]}
    found = [
        resource("v1", "Service", deployment, spec={"selector": pods, "ports": [http]}),
        resource("v1", "Service", grpc_service(deployment), spec=by_name),
    ]
    return [labeled(each, deployment, "web") for each in found]


def availability(workload: Workload) -> list[Resource]:
    """Return the PodDisruptionBudget of web processes and, if there may be more of them, their
    autoscaler."""
    found = [disruption_budget(workload.name, workload.deployment.name, workload.kind)]
    return [*found, _autoscaler(workload)] if scaled(workload) else found


def disruption_budget(name: str, app: str, component: str = "") -> Resource:
    """Return the PodDisruptionBudget: one pod at a time may be evicted."""
    spec = {"maxUnavailable": 1, "selector": selector(app, component)}
    return resource("policy/v1", "PodDisruptionBudget", name, spec=spec)


def _autoscaler(workload: Workload) -> Resource:
    # Of this container alone: a sidecar's CPU time does not count.
    target = {"type": "AverageValue", "averageValue": cores(workload.process.cpu_limit * CPU_SHARE)}
    metric = {"name": "cpu", "container": workload.kind, "target": target}
    return resource(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        workload.name,
        spec={
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": workload.name,
            },
            "minReplicas": workload.process.replicas,
            "maxReplicas": workload.process.max_replicas,
            "metrics": [{"type": "ContainerResource", "containerResource": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": SCALE_DOWN_SECONDS}},
        },
    )
