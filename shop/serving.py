"""What a web process serves: HTTP and, beside it, gRPC. `granian … shop.serving:application`.

The application is ASGI (`shop.front`). `shop.wsgi:application` is plain WSGI without gRPC, which
needs a server that reads bodies whole and in time; a gateway forwards nothing there.
"""

import resource
import signal
import threading
from importlib import import_module
from importlib.util import find_spec

# SIGTERM is for the thread below. Blocked before anything else here starts a thread, since threads
# inherit it: granian would stop at once, and callers would still be sending to us.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from django.conf import settings  # noqa: E402

from shop import wsgi  # noqa: E402
from shop.front import Forward, Front  # noqa: E402
from shop.front.threads import Threads  # noqa: E402
from shop.rpc.server import Server  # noqa: E402
from shop.telemetry.health import leaving  # noqa: E402

__all__ = ["application"]


def _forward() -> Forward | None:
    """What a context of this deployment has answered elsewhere: the gateway."""
    for context in settings.DEPLOYMENT.contexts:
        if find_spec(f"apps.{context}.asgi"):
            forward: Forward = import_module(f"apps.{context}.asgi").forward
            return forward
    return None


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

# A connection takes a file descriptor, and the usual soft limit is 1,024.
_, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))

application = Front(Threads(wsgi.application), _forward())
