"""What a web process serves: HTTP and, beside it, gRPC. `granian … shop.serving:application`.

`shop.wsgi:application` is HTTP alone, for those who give gRPC processes of its own
(`manage.py grpc`).
"""

import signal
import threading
from typing import Any

# SIGTERM is for the thread below. Blocked before anything else here starts a thread, since threads
# inherit it: granian would stop at once, and callers would still be sending to us.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from django.conf import settings  # noqa: E402

from shop import wsgi  # noqa: E402
from shop.rpc.server import Server  # noqa: E402
from shop.telemetry.health import leaving  # noqa: E402

__all__ = ["application"]


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """The WSGI application. Once this process is leaving, each answer asks the caller to close
    its connection, and so to turn to another address for the next."""
    if not leaving.is_set():
        return wsgi.application(environ, start_response)

    def closing(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, ("Connection", "close")], exc_info)

    return wsgi.application(environ, closing)


def _leave_in_good_order() -> None:
    """On SIGTERM: go on serving until callers know that we are going, then let what is under way
    finish, of gRPC first and, by granian's own stop, of HTTP."""
    signal.sigwait({signal.SIGTERM})
    leaving.set()
    _server.stop(settings.DRAIN_SECONDS)
    # To the main thread, which sleeps: what another one is given would not wake it.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


_server = Server(settings.GRPC_LISTEN)
_server.start()
threading.Thread(target=_leave_in_good_order, name="leaving", daemon=True).start()
