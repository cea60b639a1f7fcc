"""The command of each process: the same on a laptop, in a container and in a Procfile."""

from __future__ import annotations

from severable import project
from severable.config.tls import Certificates
from severable.topology import Deployment

# HTTP/2 is disabled. A connection that is idle, or has sent half a head, is closed after 10 s.
# Backpressure counts connections: more than these are not accepted.
GRANIAN = ["--interface", "asgi", "--http", "1", "--no-ws", "--log-level", "error"]
GRANIAN += ["--http1-header-read-timeout", "10000", "--backlog", "4096", "--backpressure", "8192"]
CELERY = ["--quiet", "worker", "--loglevel", "warning", "-P", "threads", "-c", "4"]
CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
# In a container every process is root; Celery's warning about it is noise.
NO_ROOT_WARNING = ["-W", "ignore:You're running the worker"]


def web(address: str, certificates: Certificates | None = None) -> list[str]:
    """Return Python's arguments for a web process that listens at host:port.

    Set GRPC_LISTEN in its environment. With certificates it uses mutual TLS.
    """
    host, _, port = address.rpartition(":")
    command = ["-m", "granian", *GRANIAN, "--host", host.strip("[]"), "--port", port]
    if certificates:
        command += ["--ssl-certificate", certificates.cert, "--ssl-keyfile", certificates.key]
        command += ["--ssl-ca", certificates.ca, "--ssl-client-verify"]
    return [*command, f"{project.name()}.asgi:application"]


def worker(deployment: Deployment) -> list[str]:
    """Return Python's arguments for a worker of all of a deployment's queues."""
    queues = ["-Q", ",".join(deployment.queues)]
    return [*NO_ROOT_WARNING, "-m", "celery", "-A", project.name(), *CELERY, *queues]


def relay() -> list[str]:
    """Return Python's arguments for the process that publishes events and runs the scheduler."""
    return ["manage.py", "relay"]


def prepare() -> list[str]:
    """Return Python's arguments for the preparation that runs before a deployment's processes."""
    return ["manage.py", "prepare"]
