"""Points at which a process may die: around every commit, call, publish and acknowledgment.

`count` numbers them as they are passed; the process exits without any cleanup at the chosen one,
as `kill -9` would end it there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.payments.providers import TestProvider
from shop.events.relay import Relay
from shop.jobs import tasks
from shop.rpc.local import LocalCall

DIED = 9  # the exit code


class Points:
    """Counts points, and dies at one of them (none: 0)."""

    def __init__(self, die_at: int) -> None:
        self.passed, self._die_at = 0, die_at

    def count(self, kind: str) -> None:
        """Pass a point, or die at it."""
        self.passed += 1
        if self.passed == self._die_at:
            os.write(2, f"died at {self.passed}: {kind}\n".encode())
            os._exit(DIED)

    def around(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function with a point before and one after it."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count(f"before {kind}")
            result = function(*args, **kwargs)
            self.count(f"after {kind}")
            return result

        return counted

    def install(self) -> None:
        """Put points around everything that leaves a trace outside this process."""
        wrapper: Any = BaseDatabaseWrapper
        wrapper._commit = self.around("a commit", wrapper._commit)
        connection.execute_wrappers.append(self._statement)
        for owner, name in (
            (LocalCall, "ask"),
            (TestProvider, "charge"),
            (TestProvider, "refund"),
            (Relay, "_put"),
        ):
            setattr(owner, name, self.around(f"{owner.__name__}.{name}", getattr(owner, name)))
        enqueue: Any = tasks.run
        enqueue.apply_async = self.around("an enqueue", enqueue.apply_async)

    def _statement(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """A write outside a transaction is a commit of its own."""
        alone = not context["connection"].in_atomic_block
        if alone and sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            return self.around("a statement", execute)(sql, params, many, context)
        return execute(sql, params, many, context)
