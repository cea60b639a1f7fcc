"""Leader election: loops that run in one process at a time, such as the relay."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from time import monotonic
from uuid import uuid4

from django.db import DatabaseError, close_old_connections

from severable import heartbeat
from severable.jobs.models import Lease

log = logging.getLogger(__name__)

LEASE_SECONDS = 6.0


def lead(
    name: str,
    step: Callable[[], bool],
    *,
    idle: float,
    stop: threading.Event,
    wait: Callable[[float], object] | None = None,
    on_acquired: Callable[[], None] | None = None,
) -> None:
    """Call `step` repeatedly while this process owns the lease `name`, until `stop` is set.

    `step` returns whether there may be more to do; if not, `wait(idle)` is called before the next
    step, by default a pause of `idle` seconds. `on_acquired` is called when this process becomes
    the leader. An error is logged and the loop continues. If this process dies, another one takes
    over within LEASE_SECONDS.
    """
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
    renew_at = 0.0
    while not stop.is_set():
        heartbeat.beat()
        busy = False
        try:
            close_old_connections()
            if monotonic() >= renew_at:
                acquired = Lease.acquire(name, holder, LEASE_SECONDS)
                if acquired and not renew_at and on_acquired:
                    on_acquired()
                renew_at = monotonic() + LEASE_SECONDS / 3 if acquired else 0.0
            if renew_at:
                busy = step()
        except (DatabaseError, OSError) as error:
            log.warning("%s: %s: %s", name, type(error).__name__, error)
            stop.wait(1)
        except Exception:
            log.exception("%s failed", name)
            stop.wait(1)
        if not busy and renew_at:
            (wait or stop.wait)(idle)
        elif not busy:
            stop.wait(LEASE_SECONDS / 3)
    if renew_at:
        Lease.release(name, holder)
