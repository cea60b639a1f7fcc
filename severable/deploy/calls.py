"""The calls between the deployments of a placement: contracts, methods, callers and callees."""

from __future__ import annotations

from severable.protos import events_pb2
from severable.topology import Deployment, Topology, contracts

FEED: str = events_pb2.DESCRIPTOR.package  # every context with a contract serves it


def packages(topology: Topology, deployment: Deployment) -> list[str]:
    """Return the proto packages of the contracts that a deployment serves."""
    own = [topology.contexts[context].package for context in deployment.contexts]
    found = [package for package in own if package]
    return [*found, FEED] if found else []


def methods(package: str) -> list[str]:
    """Return the full names of a contract's methods, such as "/user.UserService/GetUser"."""
    file = contracts.load(package).DESCRIPTOR
    return [
        f"/{service.full_name}/{method.name}"
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def callers(
    topology: Topology, placement: str, callee: Deployment, package: str
) -> list[Deployment]:
    """Return the other deployments that may call a contract of a deployment."""
    return [
        other
        for other in topology.deployments(placement)
        if other != callee and topology.may_call(placement, other.name, package)
    ]


def callees(topology: Topology, placement: str, caller: Deployment) -> list[Deployment]:
    """Return the other deployments of which a deployment may call any contract."""
    return [
        other
        for other in topology.deployments(placement)
        if any(
            caller in callers(topology, placement, other, package)
            for package in packages(topology, other)
        )
    ]


def all_callers(topology: Topology, placement: str, callee: Deployment) -> list[Deployment]:
    """Return the other deployments that may call any contract of a deployment."""
    return [
        other
        for other in topology.deployments(placement)
        if callee in callees(topology, placement, other)
    ]
