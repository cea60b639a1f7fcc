"""The servicers of this process, and the one way in which their methods are run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from severable.errors import DomainError, OutcomeUnknown, from_error, to_grpc

log = logging.getLogger(__name__)


Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


class Registry(grpc.Server):
    """A "server" that the generated add_XServicer_to_server functions register with.

    It listens nowhere: channels look methods up in it.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._services: dict[str, Handlers] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Handlers) -> None:
        self._services[service_name] = method_handlers
        for name, handler in method_handlers.items():
            self._handlers[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Generated code calls this too, with the same methods, which are registered by name."""

    def find(self, method: str) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a full method name such as "/user.UserService/GetUser"."""
        return self._handlers.get(method)

    @property
    def services(self) -> tuple[str, ...]:
        """The full names of all that is served here, such as "user.UserService"."""
        return tuple(self._services)

    @property
    def methods(self) -> tuple[str, ...]:
        """The full names of all methods, such as "/user.UserService/GetUser"."""
        return tuple(self._handlers)

    def serve_on(self, server: grpc.Server) -> None:
        """Register all of it with a server that does listen."""
        for name, handlers in self._services.items():
            generic = grpc.method_handlers_generic_handler(name, dict(handlers))
            server.add_generic_rpc_handlers((generic,))
            server.add_registered_method_handlers(name, handlers)

    def _listens_nowhere(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("the registry of servicers is not a server")

    add_insecure_port = add_secure_port = start = stop = _listens_nowhere
    wait_for_termination = _listens_nowhere


registry = Registry()


def serve(
    add_to_server: Callable[[Any, grpc.Server], None],
) -> Callable[[type[Any]], type[Any]]:
    """Class decorator: this servicer is the implementation of its contract in this process.

    @serve(add_UserServiceServicer_to_server)
    class UserServicer(UserServiceServicer): ...
    """

    def register(servicer: type[Any]) -> type[Any]:
        add_to_server(servicer(), registry)
        return servicer

    return register


def run(behaviour: Callable[[Any, Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
    """Run a servicer's method: a refusal becomes a status, a bug becomes INTERNAL and a log line.

    Every channel's serving side goes through here, so that errors are alike on all.
    """
    try:
        return behaviour(request, context)
    except DomainError as refusal:
        context.abort_with_status(to_grpc(refusal))
    except NotImplementedError:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody here serves this")
    except OutcomeUnknown as error:
        # Not UNAVAILABLE: this context is there. Whoever asked for it all may ask again.
        context.abort(grpc.StatusCode.ABORTED, str(error))
    except grpc.RpcError as error:
        # What this context had asked another one: its "no" and its silence are ours too.
        answer = from_error(error)
        if answer:
            context.abort_with_status(to_grpc(answer))
        context.abort(error.code(), error.details() or "")
    except Exception:
        log.exception("%s failed", getattr(behaviour, "__qualname__", behaviour))
        context.abort(grpc.StatusCode.INTERNAL, "internal error")
