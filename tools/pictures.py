"""Takes the pictures of the README from a running shop: `make pictures`.

The shop runs in one process on a new database. Each picture is a page as a browser shows it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tools.processes import HERE

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOLDER = HERE / "docs" / "pictures"
START_SECONDS = 120.0
SIZE = ViewportSize(width=1280, height=860)
CARDS = ("tok_visa", "tok_declined")  # the last order's history is shown


def main() -> None:
    """Start a shop, place orders, and write docs/pictures/*.png."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("Pictures need Chromium: install the package `chromium` of your system.")
    FOLDER.mkdir(exist_ok=True)
    with _shop() as url, sync_playwright() as playwright:
        orders = [_order(url, card) for card in CARDS]
        page = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox"] if os.geteuid() == 0 else []
        ).new_page(viewport=SIZE)
        _take(page, url, "storefront")
        _sign_in(page, url)
        _take(page, f"{url}/admin/orders/order/{orders[-1]}/change/", "story", at="Story")


@contextmanager
def _shop() -> Iterator[str]:
    """Run a shop in one process, with its files in a folder of its own, and yield its address."""
    url = f"http://127.0.0.1:{_free_port()}"
    with tempfile.TemporaryDirectory() as var:
        environment = os.environ | {
            "VAR_DIR": var,
            "PORT": url.rpartition(":")[2],
            "GRPC_PORT": str(_free_port()),
        }
        shop = subprocess.Popen(
            [sys.executable, "-m", "tools.supervisor"], cwd=HERE, env=environment
        )
        try:
            _wait_until(lambda: _ask(f"{url}/health/ready"), START_SECONDS, "the shop to be ready")
            yield url
        finally:
            shop.send_signal(signal.SIGINT)
            shop.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until(condition: Callable[[], Any], seconds: float, meant: str) -> None:
    end = monotonic() + seconds
    while not condition():
        if monotonic() > end:
            sys.exit(f"Waited {seconds:.0f} s for {meant}.")
        sleep(0.2)


def _ask(url: str, body: Any = None, **headers: str) -> dict[str, Any] | None:
    """Return the JSON of a response, also of a refusal; None if nothing responds yet."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))
    except OSError:
        return None


def _order(url: str, card: str) -> str:
    """Place an order of alice, wait until it is decided, and return its id."""
    signed_in = _ask(f"{url}/api/auth/token", {"username": "alice", "password": "demo"}) or {}
    token = {"Authorization": f"Bearer {signed_in['access']}"}
    body = {
        "items": [{"sku": "MUG-OAK", "quantity": 2}],
        "payment": {"method": "card", "token": card},
    }
    _ask(f"{url}/api/orders", body, **token, **{"Idempotency-Key": str(uuid4())})
    newest = (_ask(f"{url}/api/orders", **token) or {})["results"][0]
    order = f"{url}/api/orders/{newest['id']}"
    _wait_until(lambda: (_ask(order, **token) or {}).get("status") != "pending", 30, "an order")
    return str(newest["id"])


def _sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/")
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", "admin")
    page.click("[type=submit]")
    page.wait_for_url(f"{url}/admin/")


def _take(page: Page, url: str, name: str, at: str = "") -> None:
    """Save what a browser shows of a page, scrolled to a text."""
    page.goto(url)
    if at:
        page.get_by_text(at, exact=True).evaluate("element => element.scrollIntoView()")
    page.wait_for_load_state("networkidle")
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file)
    print(f"{file.relative_to(HERE)}: {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
