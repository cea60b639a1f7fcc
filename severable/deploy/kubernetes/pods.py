"""Pods: the processes of a deployment, and the Job that prepares its database for them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from severable.config import commands
from severable.deploy.kubernetes.resources import (
    PLACEMENT,
    PREPARE,
    PREPARE_SETTINGS,
    SETTINGS,
    Resource,
    labeled,
    labels,
    required,
    resource,
    secret,
    selector,
    text,
)
from severable.deploy.workloads import (
    GRPC_PORT,
    HEARTBEAT_SECONDS,
    HTTP_PORT,
    LIVE,
    READY,
    Workload,
    environment,
)
from severable.topology import Deployment, Process, Topology

WRITABLE = "/tmp"  # noqa: S108  # a file system of the pod's own
USER = 10001  # no user of a node; the image's files are readable for all
START_SECONDS = 120  # that a process may take to start
# An answer of the cluster's DNS may be 5 s old, so that callers find a new pod before an old one
# ends; docs/decisions/0012.
MIN_READY_SECONDS = 5
JOB_KEPT_SECONDS = 24 * 3600


def processes(workload: Workload, image: str, shared: dict[str, str]) -> Resource:
    """Return the Deployment of a workload. The `shared` variables are in a ConfigMap."""
    name, kind = workload.deployment.name, workload.kind
    own = {key: value for key, value in workload.environment.items() if key not in shared}
    container = {
        **_container(kind, image, workload.command, own, workload.process),
        "envFrom": [*_config(PLACEMENT), *_config(SETTINGS), _secret(name)],
        **(_web() if kind == "web" else _probed_by(workload.probe)),
    }
    # Web processes of a new version are not ready before the Job has ended: /health/ready looks
    # for migrations that are missing. Nothing looks at whether the others are ready: they wait.
    waiting = [] if kind == "web" else [_schema(container)]
    spec = {
        **_pod(name),
        "terminationGracePeriodSeconds": workload.grace,
        **({"initContainers": waiting} if waiting else {}),
        "containers": [container],
        "topologySpreadConstraints": [spread(name, kind)],
    }
    return deployment(workload.name, name, kind, _replicas(workload), spec)


def deployment(
    name: str, app: str, component: str, replicas: int | None, spec: Resource
) -> Resource:
    """Return a Deployment that never has less pods than wanted while it is rolled out."""
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    body = {
        **({} if replicas is None else {"replicas": replicas}),
        "minReadySeconds": MIN_READY_SECONDS,
        "revisionHistoryLimit": 3,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        "selector": selector(app, component),
        "template": {"metadata": {"labels": labels(app, component)}, "spec": spec},
    }
    return labeled(resource("apps/v1", "Deployment", name, spec=body), app, component)


def preparation(topology: Topology, placement: str, deployment: Deployment) -> Resource:
    """Return the Job that migrates a deployment's database.

    Its name changes with its content, since a Job cannot be changed. It reaches no other
    deployment: addresses are those of topology.toml, where nothing listens in its pod; the
    reconciler starts subscriptions that it could not start.
    """
    assert deployment.processes
    image = required(topology)[1].image
    site = {"SHOP_PLACEMENT": placement, "SHOP_DEPLOYMENT": deployment.name}
    command = ("python", *commands.prepare())
    container = {
        **_container(PREPARE, image, command, site, deployment.processes.web),
        "envFrom": [*_config(PREPARE_SETTINGS), _secret(deployment.name)],
    }
    pod = {**_pod(deployment.name), "restartPolicy": "OnFailure", "containers": [container]}
    # A pod with a sidecar may not end, and this one makes no call in a mesh.
    unmeshed = {**labels(deployment.name, PREPARE), "sidecar.istio.io/inject": "false"}
    spec = {
        "backoffLimit": 10,
        "ttlSecondsAfterFinished": JOB_KEPT_SECONDS,
        "template": {"metadata": {"labels": unmeshed}, "spec": pod},
    }
    digest = sha256(text(spec).encode()).hexdigest()[:8]
    job = resource("batch/v1", "Job", f"{deployment.name}-{PREPARE}-{digest}", spec=spec)
    return labeled(job, deployment.name, PREPARE)


def shared_environment(topology: Topology, placement: str, site: Any) -> dict[str, str]:
    """Return the variables that are the same for all processes of a placement."""
    first, *others = (
        environment(topology, placement, deployment, site).items()
        for deployment in topology.deployments(placement)
    )
    return dict(item for item in first if all(item in other for other in others))


def secured() -> Resource:
    """Return the securityContext of a container, by Pod Security "restricted"."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def secured_pod(user: int) -> Resource:
    """Return the securityContext of a pod, by Pod Security "restricted"."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resources(cpu: float, cpu_limit: float, memory: int) -> Resource:
    """Return requests and limits, for cores and MiB."""
    return {
        "requests": {"cpu": cores(cpu), "memory": f"{memory}Mi"},
        "limits": {"cpu": cores(cpu_limit), "memory": f"{memory}Mi"},
    }


def cores(number: float) -> str:
    """Return a number of cores as a quantity, such as "250m"."""
    return f"{round(number * 1000)}m"


def http_probe(path: str, port: str, seconds: int, failures: int) -> Resource:
    """Return a probe with its period in seconds and its number of failures."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _pod(name: str) -> Resource:
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # their variables could be taken for the shop's settings
        "securityContext": secured_pod(USER),
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _container(
    name: str, image: str, command: tuple[str, ...], variables: dict[str, str], process: Process
) -> Resource:
    return {
        "name": name,
        "image": image,
        "command": list(command),
        "env": [
            {"name": key, "value": value}
            for key, value in {**variables, "VAR_DIR": WRITABLE}.items()
        ],
        "resources": resources(process.cpu, process.cpu_limit, process.memory),
        "securityContext": secured(),
        "volumeMounts": [{"name": "tmp", "mountPath": WRITABLE}],
    }


def _web() -> Resource:
    # No preStop: on SIGTERM a web process goes on serving for DRAIN_SECONDS, while the cluster
    # spreads that it is going. A sleep in preStop would do the same, without telling callers.
    return {
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
        ],
        "startupProbe": http_probe(LIVE, "http", 2, START_SECONDS // 2),
        "livenessProbe": http_probe(LIVE, "http", 10, 3),
        "readinessProbe": http_probe(READY, "http", 5, 2),
    }


def _probed_by(command: tuple[str, ...]) -> Resource:
    # A command starts Python: often enough to see a frozen process, and no oftener.
    probe = {
        "exec": {"command": list(command)},
        "periodSeconds": HEARTBEAT_SECONDS,
        "timeoutSeconds": 10,
    }
    return {
        "startupProbe": {**probe, "periodSeconds": 10, "failureThreshold": START_SECONDS // 10},
        "livenessProbe": {**probe, "failureThreshold": 2},
    }


def _schema(container: Resource) -> Resource:
    """Return a container that fails, and so is started again, while migrations are missing."""
    same = ("image", "env", "envFrom", "resources", "securityContext", "volumeMounts")
    command = ["python", "manage.py", "migrate", "--check"]
    return {"name": "schema", "command": command, **{key: container[key] for key in same}}


def _replicas(workload: Workload) -> int | None:
    """Return the number of pods, or None if something scales them: applying must not undo it."""
    return None if scaled(workload) else workload.process.replicas


def scaled(workload: Workload) -> bool:
    """Return whether the pods of a workload are scaled by the CPU time that they take."""
    return workload.kind == "web" and workload.process.max_replicas > workload.process.replicas


def spread(name: str, component: str) -> Resource:
    """Return the constraint that spreads the pods of one kind over the nodes."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector(name, component),
    }


def _config(name: str) -> list[Resource]:
    return [{"configMapRef": {"name": name}}]


def _secret(deployment: str) -> Resource:
    return {"secretRef": {"name": secret(deployment)}}
