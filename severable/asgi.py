"""The entry point of web processes, for a project's asgi.py."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import django

from severable.config.environment import load_settings

if TYPE_CHECKING:
    from severable.http import Application


def get_asgi_application() -> Application:
    """Set Django up, serve gRPC, and return the ASGI application that serves HTTP.

    Call it in the main thread, before anything starts another one. On SIGTERM the process serves on
    for settings.DRAIN_SECONDS, lets requests finish and ends.
    """
    # A separate thread waits for SIGTERM. Threads inherit the mask of blocked signals. Without it,
    # the server would stop at once, while callers still send requests.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    load_settings()
    django.setup(set_prefix=False)
    from severable.http.serving import serve

    return serve()
