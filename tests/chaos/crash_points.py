"""Points at which a process may die: around every commit, call, publish and acknowledgment.

A process that dies at one exits without any cleanup, as `kill -9` would end it there.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.app.task import Task
from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from kombu.message import Message

from severable.events.relay import Relay
from severable.rpc.client.intercepted import InterceptedCall
from severable.rpc.server import server, servicer_context

DIED = 9  # the exit code
PLACES: tuple[tuple[str, Any, str], ...] = (
    ("a commit", BaseDatabaseWrapper, "_commit"),
    ("a call", InterceptedCall, "__call__"),
    ("an answer", servicer_context, "run"),
    ("an answer", server, "run"),
    ("a publish", Relay, "_publish_message"),
    ("an enqueue", Task, "apply_async"),
    ("an acknowledgment", Message, "ack"),
)


class Points:
    """Numbers the points that a process passes, from 1. `passing` is told each of them, and may
    not return."""

    def __init__(self, passing: Callable[[int, str], None]) -> None:
        self.passed, self._passing = 0, passing

    def install(self) -> None:
        """Put points around everything that leaves a trace outside this process."""
        for kind, owner, name in (*PLACES, *_of_the_provider()):
            setattr(owner, name, self._around(kind, getattr(owner, name)))
        connection_created.connect(self._watch, weak=False)

    def _pass(self, kind: str) -> None:
        self.passed += 1
        self._passing(self.passed, kind)

    def _around(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def with_points(*args: Any, **kwargs: Any) -> Any:
            self._pass(f"before {kind}")
            result = function(*args, **kwargs)
            self._pass(f"after {kind}")
            return result

        return with_points

    def _watch(self, connection: Any, **kwargs: Any) -> None:
        if self._statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._statement)

    def _statement(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """A write outside a transaction is a commit of its own."""
        alone = not context["connection"].in_atomic_block
        if alone and sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            return self._around("a statement", execute)(sql, params, many, context)
        return execute(sql, params, many, context)


def _of_the_provider() -> list[tuple[str, Any, str]]:
    if not apps.is_installed("apps.payments"):
        return []
    from apps.payments.providers import TestProvider

    return [("a charge", TestProvider, "charge"), ("the provider's refund", TestProvider, "refund")]


def die_at(point: int) -> Points:
    """Points of which one is the last."""

    def passing(number: int, kind: str) -> None:
        if number == point:
            os.write(2, f"died at {number}, {kind}\n".encode())
            os._exit(DIED)

    return Points(passing)


def install_in_a_shop(folder: str) -> None:
    """Die at one of the next points that this process passes while `armed` is in the folder; a
    worker that finds `freezing` stands still inside its transaction, and removes the file."""
    armed, freezing, log = (Path(folder) / name for name in ("armed", "freezing", "log"))
    process = f"{os.environ['SHOP_DEPLOYMENT']} {'-'.join(Path(sys.argv[0]).parts[-2:])}"
    left = random.randint(1, 150)

    def passing(number: int, kind: str) -> None:
        nonlocal left
        if kind == "before a commit" and "celery" in process and freezing.exists():
            freezing.unlink()
            _note(log, f"{process}: frozen {kind}")
            os.kill(os.getpid(), signal.SIGSTOP)
        if not armed.exists():
            return
        left -= 1
        if left <= 0:
            _note(log, f"{process}: {kind}")
            os._exit(DIED)

    Points(passing).install()


def _note(log: Path, line: str) -> None:
    with log.open("a") as lines:
        lines.write(f"{line}\n")
