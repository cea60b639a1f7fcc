"""A topology as text, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from severable.topology.model import Deployment, Topology


def lines(topology: Topology) -> Iterator[str]:
    """Yield the lines: the calls and their policies, then the deployments of each placement."""
    yield "Calls: local within a deployment, over gRPC or REST (CHANNEL) between deployments"
    for context in topology.contexts.values():
        for callee in context.calls:
            yield f"  {context.name:<14} -> {callee:<10} {policy(topology, callee)}"
    for path, own in sorted(_methods(topology).items()):
        yield f"  {path}: {own}"
    for placement in topology.placements:
        yield ""
        yield f"Placement {placement}"
        for deployment in topology.deployments(placement):
            yield from _deployment(topology, placement, deployment)


def policy(topology: Topology, callee: str) -> str:
    """Return how calls to a context are made, in words."""
    found = topology.policies[callee]
    retries = f"{found.retries} {'retry' if found.retries == 1 else 'retries'}"
    return f"{found.timeout:g} s, {retries}, {found.concurrency} at once"


def _methods(topology: Topology) -> dict[str, str]:
    return {
        path.removeprefix("/"): ", ".join(
            [f"{policy.timeout_of(path):g} s", f"{policy.retries_of(path)} retries"]
        )
        for policy in topology.policies.values()
        for path in policy.methods
    }


def _deployment(topology: Topology, placement: str, deployment: Deployment) -> Iterator[str]:
    at = f"http {', '.join(deployment.http)}, grpc {', '.join(deployment.grpc)}"
    yield f"  {deployment.name:<14} {', '.join(deployment.kinds)} at {at}"
    yield f"  {'':<14} runs {', '.join(deployment.contexts)}"
    remote = remote_calls(topology, placement, deployment)
    if remote:
        there = [f"{callee} at {where}" for callee, where in remote.items()]
        yield f"  {'':<14} calls {', '.join(there)}"


def remote_calls(topology: Topology, placement: str, deployment: Deployment) -> dict[str, str]:
    """Return the contexts that a deployment calls in others, and which deployment runs each."""
    called = (callee for name in deployment.contexts for callee in topology.contexts[name].calls)
    return {
        callee: topology.where(placement, callee).name
        for callee in dict.fromkeys(called)
        if callee not in deployment.contexts
    }
