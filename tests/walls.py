"""Every SQL statement that a test runs is checked: it may touch one context's tables only.

So is every transaction. The machine's own tables (events, jobs, sagas, keys) and Django's
belong to whoever uses them. And no compare-and-set may lose its compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.backends.signals import connection_created

QUOTED = re.compile(r'"(\w+)"')


class WallCrossed(AssertionError):
    """A statement or a transaction touches the tables of two contexts."""


class NothingCompared(AssertionError):
    """An update finds its rows through a subquery of their own table, as Django makes it of a
    filter that joins. Of two such at the same time PostgreSQL lets both win: once it has waited
    for the other, it looks at the row's conditions again, but not into the subquery."""


@cache
def owners() -> dict[str, str]:
    """The context of each table that has one."""
    return {
        model._meta.db_table: model._meta.app_label
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in settings.TOPOLOGY.contexts
    }


def contexts_in(sql: str) -> set[str]:
    """The contexts whose tables a statement names."""
    return {owners()[name] for name in QUOTED.findall(sql) if name in owners()}


THROUGH_ITSELF = re.compile(r'UPDATE "(\w+)" .* IN \(SELECT .* FROM "\1"')
EMPTYING = re.compile(r'TRUNCATE |DELETE FROM "\w+";?$')


def check(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """A wrapper for Django's database connections."""
    if EMPTYING.match(sql):  # the test runner, between two tests
        return execute(sql, params, many, context)
    if THROUGH_ITSELF.match(sql):
        raise NothingCompared(sql)
    touched = contexts_in(sql)
    if len(touched) > 1:
        raise WallCrossed(f"one statement touches {sorted(touched)}: {sql}")
    blocks = [b for b in context["connection"].atomic_blocks if not b._from_testcase]
    if blocks:
        seen: set[str] = blocks[0].__dict__.setdefault("contexts", set())
        seen |= touched
        if len(seen) > 1:
            raise WallCrossed(f"one transaction touches {sorted(seen)}, at last: {sql}")
    return execute(sql, params, many, context)


def watch(connection: Any, **kwargs: Any) -> None:
    """Check every statement of a connection from now on."""
    if check not in connection.execute_wrappers:
        connection.execute_wrappers.append(check)


connection_created.connect(watch, dispatch_uid="walls")
