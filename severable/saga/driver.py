"""Runs sagas: steps until all succeed or one fails, then compensations in reverse order.

A crash anywhere is resumed from the row. Whether a call took effect does not matter: actions and
compensations are idempotent by key, and a compensation wins over an action that arrives later (the
barrier of DTM: empty compensation, suspended action; github.com/dtm-labs/dtm). An action that fails
with a domain error at its first attempt had no effect. At a later one it may have had one at the
first, and is compensated too.
"""

from __future__ import annotations

import logging
from uuid import UUID

import grpc
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from severable.errors import Conflict, DomainError, from_error, kind_of, rebuild
from severable.jobs.executors import executes
from severable.saga.definition import Data, Definition, Step
from severable.saga.models import Saga, SagaLog
from severable.telemetry import correlation
from severable.telemetry.tracing import span, traceparent

log = logging.getLogger(__name__)


class Unresolved(Conflict):
    """A step's outcome was still unknown at the saga's timeout."""

    code = "unresolved"


def start(saga: Definition, key: UUID, data: Data, *, claimed: bool) -> Saga:
    """Begin a saga, in the transaction that makes it necessary.

    With `claimed` the caller holds it for one lease and must `attempt()` it after the commit;
    otherwise it is due at once, for a worker.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(f"saga {saga.name} started outside a transaction")
    why = correlation.current()
    row = Saga(
        name=saga.name,
        key=key,
        data=data,
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
    """Drive a claimed saga in the name of the caller that started it."""
    why = correlation.Correlation(saga.correlation_id, saga.causation_id, saga.actor)
    with correlation.correlated(why), span(f"saga {saga.name}", saga.traceparent):
        drive(saga)


def drive(saga: Saga) -> None:
    """Take a held saga as far as it goes. Raises where a call's outcome stays unknown: the job
    is then tried again later. Raises LeaseLost where another driver has taken over."""
    steps = saga.definition.steps
    while saga.status == Saga.Status.RUNNING:
        _execute(saga, steps[saga.position])
    while saga.status == Saga.Status.COMPENSATING:
        if saga.position >= 0:
            _compensate(saga, steps[saga.position])
        else:
            _end_compensated(saga)


def domain_error_of(saga: Saga) -> DomainError | None:
    """Return why a saga is or was compensated, or None."""
    return rebuild(**saga.refusal) if saga.refusal else None


def _execute(saga: Saga, step: Step) -> None:
    try:
        step.action(saga.data)
    except Exception as error:
        refusal = _domain_error_in(error)
        if refusal:
            first = saga.position if saga.outcome_was_unknown else saga.position - 1
            _start_compensation(saga, step, refusal, first)
            return
        _note_unknown(saga, step, SagaLog.Action.EXECUTE, error)
        if not _timed_out(saga):
            raise
        _start_compensation(
            saga, step, Unresolved(f"There was no answer in time: {step.name}."), saga.position
        )
        return
    try:
        _log_done(saga, step)
    except DomainError as refusal:
        _start_compensation(saga, step, refusal, saga.position)


def _domain_error_in(error: Exception) -> DomainError | None:
    if isinstance(error, grpc.RpcError):
        return from_error(error)
    return error if isinstance(error, DomainError) else None


def _timed_out(saga: Saga) -> bool:
    timeout = saga.definition.timeout
    return timeout is not None and timezone.now() - saga.created_at > timeout


def _log_done(saga: Saga, step: Step) -> None:
    position = saga.position + 1
    with transaction.atomic():
        _log(saga, step, SagaLog.Action.EXECUTE, SagaLog.Outcome.DONE)
        if step.on_success:
            step.on_success(saga.data)
        if position < len(saga.definition.steps):
            _advance(saga, position=position, reached_in=saga.attempts, data=saga.data)
        else:
            saga.complete(status=Saga.Status.COMPLETED, position=position, data=saga.data)


def _compensate(saga: Saga, step: Step) -> None:
    if step.compensation is None:
        _advance(saga, position=saga.position - 1)
        return
    try:
        step.compensation(saga.data)
    except Exception as error:
        _note_unknown(saga, step, SagaLog.Action.COMPENSATE, error)
        raise
    with transaction.atomic():
        _log(saga, step, SagaLog.Action.COMPENSATE, SagaLog.Outcome.DONE)
        _advance(saga, position=saga.position - 1, data=saga.data)


def _end_compensated(saga: Saga) -> None:
    with transaction.atomic():
        if saga.definition.on_compensated:
            assert saga.refusal
            saga.definition.on_compensated(saga.data, saga.refusal["code"], saga.refusal["detail"])
        saga.complete(status=Saga.Status.COMPENSATED, data=saga.data)


def _start_compensation(saga: Saga, step: Step, refusal: DomainError, position: int) -> None:
    stored = {"kind": kind_of(refusal), "code": refusal.code, "detail": refusal.detail}
    with transaction.atomic():
        _log(saga, step, SagaLog.Action.EXECUTE, SagaLog.Outcome.REFUSED, refusal.detail)
        _advance(
            saga,
            status=Saga.Status.COMPENSATING,
            position=position,
            refusal=stored | refusal.facts,
            data=saga.data,
        )


def _advance(saga: Saga, **changes: object) -> None:
    # Progress renews the lease.
    saga.update_if_owned(due_at=Now() + Saga.lease, **changes)


def _note_unknown(saga: Saga, step: Step, action: str, error: Exception) -> None:
    log.warning("%s: %s %s: %s", saga, action, step.name, error)
    _log(saga, step, action, SagaLog.Outcome.UNKNOWN, f"{type(error).__name__}: {error}"[:500])


def _log(saga: Saga, step: Step, action: str, outcome: str, detail: str = "") -> None:
    SagaLog.objects.create(saga=saga, step=step.name, action=action, outcome=outcome, detail=detail)
