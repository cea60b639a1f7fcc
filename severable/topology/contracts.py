"""The generated code of contracts, found by their proto packages."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from severable import project

REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


@cache
def load(package: str) -> ModuleType:
    """Import and return the code of a contract such as "order"; its descriptors are known then.

    Raises ModuleNotFoundError if there is none.
    """
    own = f"severable.protos.{package}_pb2"  # the feed of events
    return import_module(own if find_spec(own) else f"{project.CONTRACTS}.{package}_pb2")


def method(path: str) -> MethodDescriptor | None:
    """Return the descriptor of a method such as "/user.UserService/GetUser", or None."""
    service, _, name = path.removeprefix("/").partition("/")
    load(service.partition(".")[0])
    try:
        found = descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return None
    return found.methods_by_name.get(name)


def repeatable(path: str) -> bool:
    """Return whether a method is idempotent by its contract."""
    described = method(path)
    return described is not None and described.GetOptions().idempotency_level in REPEATABLE
