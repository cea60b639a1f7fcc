"""A context that is frozen: it takes connections, and answers nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.chaos.running import Shop, descendants

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("running"), pytest.mark.timeout(300)]

FROZEN = "/api/payments/00000000-0000-0000-0000-000000000000"
REQUESTS = 120
CALM = 5.0  # seconds: less than a frozen context holds those that asked it


def test_a_frozen_context_takes_nothing_of_the_others(tmp_path: Path) -> None:
    """24 requests to it left the gateway without an answer for 30 s."""
    shop = Shop(tmp_path, placement="split")
    try:
        shop.start()
        headers = shop.sign_in("alice")
        web = shop.process("payments", "granian")
        assert web
        frozen = descendants(web)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        statuses: list[int] = []
        asking = [
            threading.Thread(
                target=lambda: statuses.append(shop.request("GET", FROZEN, **headers)[0])
            )
            for _ in range(REQUESTS)
        ]
        for thread in asking:
            thread.start()
        for _ in range(50):
            for path in ("/api/inventory/products/MUG-OAK", "/health/live"):
                start = time.monotonic()
                assert shop.request("GET", path)[0] == 200
                assert time.monotonic() - start < CALM
        for thread in asking:
            thread.join()
        assert set(statuses) == {503, 504}
        assert statuses.count(503) > statuses.count(504) > 0

        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        shop.eventually(lambda: shop.request("GET", FROZEN, **headers)[0] == 404, within=30)
    finally:
        shop.close()
