"""The life of a web process, which serves HTTP and gRPC, from its start until SIGTERM."""

from __future__ import annotations

import gc
import resource
import signal
import threading
from importlib import import_module
from importlib.util import find_spec

from django.conf import settings

from severable import project
from severable.http.app import Application, Front
from severable.http.threads import Threads
from severable.http.wsgi import Handler
from severable.rpc.server.server import Server
from severable.telemetry.draining import draining


def serve() -> Application:
    """Start the gRPC server and the drain thread, and return the ASGI application.

    SIGTERM must be blocked in all threads.
    """
    server = Server(settings.GRPC_LISTEN)
    server.start()
    threading.Thread(target=_drain, args=(server,), name="drain", daemon=True).start()
    _allow_all_descriptors()
    application = behind_proxies(Front(Threads(Handler())))
    # What is loaded by now stays: without this, each full collection takes 100 ms to visit it.
    gc.collect()
    gc.freeze()
    return application


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


def behind_proxies(front: Front) -> Application:
    """Return the application behind those of this deployment's contexts, such as the gateway's."""
    application: Application = front
    for context in settings.DEPLOYMENT.contexts:
        if find_spec(f"{project.CONTEXTS}.{context}.asgi"):
            application = import_module(f"{project.CONTEXTS}.{context}.asgi").in_front_of(front)
    return application
