"""The servicers of this process, and the function that runs their methods."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from severable.errors import DomainError, OutcomeUnknown, from_error, to_grpc

log = logging.getLogger(__name__)


Behavior = Callable[[Any, Any], Any]
Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]


class Registry(grpc.Server):
    """A grpc.Server for the generated add_XServicer_to_server functions.

    It does not listen: channels look up methods in it.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._services: dict[str, Handlers] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Handlers) -> None:
        self._services[service_name] = method_handlers
        for name, handler in method_handlers.items():
            self._handlers[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Do nothing: generated code also registers the same methods by name."""

    def find(self, method: str) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a full method name such as "/user.UserService/GetUser"."""
        return self._handlers.get(method)

    @property
    def services(self) -> tuple[str, ...]:
        """Return the full names of all services, such as "user.UserService"."""
        return tuple(self._services)

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the full names of all methods, such as "/user.UserService/GetUser"."""
        return tuple(self._handlers)

    def serve_on(self, server: grpc.Server) -> None:
        """Register all services with a server that listens."""
        for name, handlers in self._services.items():
            generic = grpc.method_handlers_generic_handler(name, dict(handlers))
            server.add_generic_rpc_handlers((generic,))
            server.add_registered_method_handlers(name, handlers)

    @contextmanager
    def overridden(self, methods: Mapping[str, Behavior | None] | None = None) -> Iterator[None]:
        """Let methods behave differently within the context. At its end, all is restored.

        For tests. `methods` has, by full name such as "/user.UserService/GetUser", a function of
        the request and its context, or None for a method that is not served. Servicers that are
        registered within the context serve only there.
        """
        before = self._handlers, self._services
        self._handlers, self._services = dict(self._handlers), dict(self._services)
        try:
            for method, behavior in (methods or {}).items():
                self._override(method, behavior)
            yield
        finally:
            self._handlers, self._services = before

    def _override(self, method: str, behavior: Behavior | None) -> None:
        _, service, name = method.split("/")
        handlers = dict(self._services[service])
        handler = handlers.pop(name)
        del self._handlers[method]
        if behavior:
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                behavior, handler.request_deserializer, handler.response_serializer
            )
        self.add_registered_method_handlers(service, handlers)

    def _not_a_server(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("the registry of servicers is not a server")

    add_insecure_port = add_secure_port = start = stop = _not_a_server
    wait_for_termination = _not_a_server


registry = Registry()


def serve(
    add_to_server: Callable[[Any, grpc.Server], None],
) -> Callable[[type[Any]], type[Any]]:
    """Return a class decorator that registers a servicer for its contract in this process.

    @serve(add_UserServiceServicer_to_server)
    class UserServicer(UserServiceServicer): ...
    """

    def register(servicer: type[Any]) -> type[Any]:
        add_to_server(servicer(), registry)
        return servicer

    return register


def run(behavior: Behavior, request: Any, context: grpc.ServicerContext) -> Any:
    """Run a servicer's method. A domain error becomes its status, any other exception INTERNAL
    and a log entry.

    Every channel uses this on the server side, so that errors are the same on all.
    """
    try:
        return behavior(request, context)
    except DomainError as error:
        context.abort_with_status(to_grpc(error))
    except NotImplementedError:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "this method is not implemented here")
    except OutcomeUnknown as error:
        # Not UNAVAILABLE: this context is up. The outermost caller may retry.
        context.abort(grpc.StatusCode.ABORTED, str(error))
    except grpc.RpcError as error:
        # This context had called another one: pass on its domain error or its status.
        domain_error = from_error(error)
        if domain_error:
            context.abort_with_status(to_grpc(domain_error))
        context.abort(error.code(), error.details() or "")
    except Exception:
        log.exception("%s failed", getattr(behavior, "__qualname__", behavior))
        context.abort(grpc.StatusCode.INTERNAL, "internal error")
