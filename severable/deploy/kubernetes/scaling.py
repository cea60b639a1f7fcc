"""KEDA, if a cluster has it: more workers when events wait in their queues."""

from __future__ import annotations

from severable.deploy.kubernetes.resources import Resource, resource, secret
from severable.deploy.workloads import Workload

WAITING = 100  # messages in a queue that are work enough for one worker
POLLING_SECONDS = 10


def scaled(workload: Workload) -> list[Resource]:
    """Return the scaler of a worker, by the length of its queues in RabbitMQ."""
    name = workload.name
    login = {
        "parameter": "host",
        "name": secret(workload.deployment.name),
        "key": "BROKER_URL",
    }
    spec = {
        "scaleTargetRef": {"name": name},
        "minReplicaCount": workload.process.replicas,
        "maxReplicaCount": workload.process.max_replicas,
        "pollingInterval": POLLING_SECONDS,
        "triggers": [_trigger(queue, name) for queue in workload.deployment.queues],
    }
    return [
        resource(
            "keda.sh/v1alpha1", "TriggerAuthentication", name, spec={"secretTargetRef": [login]}
        ),
        resource("keda.sh/v1alpha1", "ScaledObject", name, spec=spec),
    ]


def unscaled(workload: Workload) -> Resource:
    """Return the patch that leaves the number of pods to KEDA."""
    target = {"kind": "Deployment", "name": workload.name}
    return {"target": target, "patch": "- {op: remove, path: /spec/replicas}"}


def _trigger(queue: str, login: str) -> Resource:
    metadata = {
        "protocol": "amqp",
        "queueName": queue,
        "mode": "QueueLength",
        "value": str(WAITING),
    }
    return {"type": "rabbitmq", "metadata": metadata, "authenticationRef": {"name": login}}
