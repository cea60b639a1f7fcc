"""The life of a web process, which serves HTTP and gRPC, from its start until SIGTERM."""

from __future__ import annotations

import resource
import signal
import threading
from importlib import import_module
from importlib.util import find_spec

from django.conf import settings

from severable import project
from severable.http.app import Forward, Front
from severable.http.threads import Threads
from severable.http.wsgi import Handler
from severable.rpc.server.server import Server
from severable.telemetry.draining import draining


def serve() -> Front:
    """Start the gRPC server and the drain thread, and return the ASGI application.

    SIGTERM must be blocked in all threads.
    """
    server = Server(settings.GRPC_LISTEN)
    server.start()
    threading.Thread(target=_drain, args=(server,), name="drain", daemon=True).start()
    _allow_all_descriptors()
    return Front(Threads(Handler()), _forward())


def _drain(server: Server) -> None:
    """On SIGTERM, serve until callers have noticed, then let gRPC, then HTTP requests finish."""
    signal.sigwait({signal.SIGTERM})
    draining.set()
    server.stop(settings.DRAIN_SECONDS)
    # To the main thread, which sleeps: a signal to another thread would not wake it.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _allow_all_descriptors() -> None:
    # Each connection takes a file descriptor, and the usual soft limit is 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _forward() -> Forward | None:
    """Return the forwarder of a context of this deployment, such as the gateway's, or None."""
    for context in settings.DEPLOYMENT.contexts:
        if find_spec(f"{project.CONTEXTS}.{context}.asgi"):
            forward: Forward = import_module(f"{project.CONTEXTS}.{context}.asgi").forward
            return forward
    return None
