"""The driver of sagas: it executes steps until all succeed or one fails, then compensates in
reverse order.

After a crash at any point the saga is resumed from its row. Whether a call took effect does not
matter: actions and compensations are idempotent by key, and a compensation wins over an action that
arrives later (the barrier of DTM: empty compensation, suspended action;
github.com/dtm-labs/dtm). An action that fails with a domain error at its first attempt had no
effect. At a later attempt the first one may have had an effect, so it is compensated too.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import grpc
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from severable.errors import Conflict, DomainError, from_error, kind_of
from severable.jobs.executors import executes
from severable.saga.definition import D, Definition, Step, dump
from severable.saga.models import Action, Outcome, Saga
from severable.telemetry import correlation
from severable.telemetry.tracing import span, traceparent

log = logging.getLogger(__name__)


class Unresolved(Conflict):
    """A step's outcome was still unknown at the saga's timeout."""

    code = "unresolved"


def start(saga: Definition[D], key: UUID, data: D, *, claimed: bool) -> Saga:
    """Store a saga, in the transaction that makes it necessary, and return its row.

    With `claimed` the caller owns the row for one lease and must `attempt()` it after the commit;
    otherwise it is due at once, for a worker.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"saga {saga.name} started outside a transaction")
    why = correlation.current()
    row = Saga(
        name=saga.name,
        key=key,
        data=dump(data, {}),
        due_at=Now(),
        correlation_id=why.id,
        causation_id=why.causation,
        actor=why.actor,
        traceparent=traceparent(),
    )
    if claimed:
        row.acquire()
    row.save(force_insert=True)
    return row


@executes(Saga)
def execute(saga: Saga) -> None:
    """Drive a claimed saga, with the correlation of the request that started it."""
    why = correlation.Correlation(saga.correlation_id, saga.causation_id, saga.actor)
    with correlation.correlated(why), span(f"saga {saga.name}", saga.traceparent):
        drive(saga)


def drive(saga: Saga) -> None:
    """Execute and compensate the steps of a claimed saga until it ends. Raises the error of a call
    whose outcome stays unknown: the job is then repeated later. Raises LeaseLost if another process
    has claimed the row."""
    steps, data = saga.definition.steps, saga.definition.load(saga.data)
    while saga.status == Saga.Status.RUNNING:
        _execute(saga, steps[saga.position], data)
    while saga.status == Saga.Status.COMPENSATING:
        if saga.position >= 0:
            _compensate(saga, steps[saga.position], data)
        else:
            _end_compensated(saga, data)


def _execute(saga: Saga, step: Step[Any], data: Any) -> None:
    try:
        with span(f"{saga.name} {step.name}"):
            step.action(data)
    except Exception as error:
        domain_error = _domain_error_in(error)
        if domain_error is None:
            _log_unknown(saga, step, Action.EXECUTE, error)
            if not _timed_out(saga):
                raise
            domain_error = Unresolved(f"There was no answer in time: {step.name}.")
        elif not saga.outcome_was_unknown:
            _start_compensation(saga, step, domain_error, data, saga.position - 1)
            return
        _start_compensation(saga, step, domain_error, data, _furthest(saga))
        return
    try:
        _log_done(saga, step, data)
    except DomainError as error:
        _start_compensation(saga, step, error, data, saga.position)


def _domain_error_in(error: Exception) -> DomainError | None:
    if isinstance(error, grpc.RpcError):
        return from_error(error)
    return error if isinstance(error, DomainError) else None


def _timed_out(saga: Saga) -> bool:
    timeout = saga.definition.timeout
    return timeout is not None and timezone.now() - saga.created_at > timeout


def _furthest(saga: Saga) -> int:
    """Return the position of the last step that an earlier attempt may have begun. Read-only steps
    are stored with the step that follows them, so that one may have begun, too."""
    steps = saga.definition.steps
    later = range(saga.position, len(steps))
    return next((n for n in later if not steps[n].read_only), len(steps) - 1)


def _log_done(saga: Saga, step: Step[Any], data: Any) -> None:
    position, entries = saga.position + 1, saga.logged(step.name, Action.EXECUTE, Outcome.DONE)
    if position == len(saga.definition.steps):
        with transaction.atomic():
            if step.on_success:
                step.on_success(data)
            changes = {"position": position, "log": entries, "data": dump(data, saga.data)}
            saga.complete(status=Saga.Status.COMPLETED, **changes)
    elif step.read_only:
        saga.position, saga.log = position, entries
    elif step.on_success:
        with transaction.atomic():
            step.on_success(data)
            _advance(saga, data, position=position, reached_in=saga.attempts, log=entries)
    else:
        _advance(saga, data, position=position, reached_in=saga.attempts, log=entries)


def _compensate(saga: Saga, step: Step[Any], data: Any) -> None:
    if step.compensation is None:
        saga.position -= 1  # nothing to log: stored with the next compensation
        return
    try:
        with span(f"{saga.name} compensate {step.name}"):
            step.compensation(data)
    except Exception as error:
        _log_unknown(saga, step, Action.COMPENSATE, error)
        raise
    entries = saga.logged(step.name, Action.COMPENSATE, Outcome.DONE)
    _advance(saga, data, position=saga.position - 1, log=entries)


def _end_compensated(saga: Saga, data: Any) -> None:
    with transaction.atomic():
        if saga.definition.on_compensated:
            assert saga.failure
            saga.definition.on_compensated(data, saga.failure["code"], saga.failure["detail"])
        changes = {"position": saga.position, "data": dump(data, saga.data)}
        saga.complete(status=Saga.Status.COMPENSATED, **changes)


def _start_compensation(
    saga: Saga, step: Step[Any], error: DomainError, data: Any, position: int
) -> None:
    """Store a step's domain error, and the position of the first step to compensate."""
    _advance(
        saga,
        data,
        status=Saga.Status.COMPENSATING,
        position=position,
        failure={"kind": kind_of(error), "code": error.code, "detail": error.detail, **error.facts},
        log=saga.logged(step.name, Action.EXECUTE, Outcome.FAILED, error.detail),
    )


def _advance(saga: Saga, data: Any, **changes: object) -> None:
    # Progress renews the lease.
    saga.update_if_owned(due_at=Now() + Saga.lease, data=dump(data, saga.data), **changes)


def _log_unknown(saga: Saga, step: Step[Any], action: str, error: Exception) -> None:
    log.warning("%s: %s %s: %s", saga, action, step.name, error)
    detail = f"{type(error).__name__}: {error}"[:500]
    saga.update_if_owned(
        position=saga.position, log=saga.logged(step.name, action, Outcome.UNKNOWN, detail)
    )
