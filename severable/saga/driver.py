"""Runs sagas: forwards until all is done or a step is refused, then backwards until undone.

A crash anywhere is resumed from the row. Whether a call had its effect does not matter: steps
and undos are idempotent by key, and an undo wins over a step that arrives later (the barrier
of DTM: empty compensation, suspended action; github.com/dtm-labs/dtm). A step that is refused
at its first attempt has had no effect. At a later one it may have had it at the first, and is
undone too.
"""

from __future__ import annotations

import logging
from uuid import UUID

import grpc
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from severable.errors import Conflict, Refusal, from_error, kind_of, rebuild
from severable.jobs.models import executes
from severable.saga.definition import Data, Definition, Step
from severable.saga.models import Saga, SagaLog
from severable.telemetry import correlation
from severable.telemetry.tracing import span, traceparent

log = logging.getLogger(__name__)


class Unresolved(Conflict):
    """A step's outcome stayed unknown for longer than the saga has patience."""

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
        row.hold()
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
        _do(saga, steps[saga.position])
    while saga.status == Saga.Status.UNDOING:
        if saga.position >= 0:
            _undo(saga, steps[saga.position])
        else:
            _end_undone(saga)


def refusal_of(saga: Saga) -> Refusal | None:
    """Why a saga is undone, or is being undone."""
    return rebuild(**saga.refusal) if saga.refusal else None


def _do(saga: Saga, step: Step) -> None:
    try:
        step.do(saga.data)
    except Exception as error:
        refusal = _refusal_in(error)
        if refusal:
            first = saga.position if saga.may_have_acted else saga.position - 1
            _turn_back(saga, step, refusal, first)
            return
        _note_unknown(saga, step, SagaLog.Action.DO, error)
        if not _out_of_patience(saga):
            raise
        _turn_back(
            saga, step, Unresolved(f"There was no answer in time: {step.name}."), saga.position
        )
        return
    try:
        _log_done(saga, step)
    except Refusal as refusal:
        _turn_back(saga, step, refusal, saga.position)


def _refusal_in(error: Exception) -> Refusal | None:
    if isinstance(error, grpc.RpcError):
        return from_error(error)
    return error if isinstance(error, Refusal) else None


def _out_of_patience(saga: Saga) -> bool:
    patience = saga.definition.patience
    return patience is not None and timezone.now() - saga.created_at > patience


def _log_done(saga: Saga, step: Step) -> None:
    position = saga.position + 1
    with transaction.atomic():
        _log(saga, step, SagaLog.Action.DO, SagaLog.Outcome.DONE)
        if step.then:
            step.then(saga.data)
        if position < len(saga.definition.steps):
            _hold(saga, position=position, reached_in=saga.attempts, data=saga.data)
        else:
            saga.finish(status=Saga.Status.COMPLETED, position=position, data=saga.data)


def _undo(saga: Saga, step: Step) -> None:
    if step.undo is None:
        _hold(saga, position=saga.position - 1)
        return
    try:
        step.undo(saga.data)
    except Exception as error:
        _note_unknown(saga, step, SagaLog.Action.UNDO, error)
        raise
    with transaction.atomic():
        _log(saga, step, SagaLog.Action.UNDO, SagaLog.Outcome.DONE)
        _hold(saga, position=saga.position - 1, data=saga.data)


def _end_undone(saga: Saga) -> None:
    with transaction.atomic():
        if saga.definition.undone:
            assert saga.refusal
            saga.definition.undone(saga.data, saga.refusal["code"], saga.refusal["detail"])
        saga.finish(status=Saga.Status.UNDONE, data=saga.data)


def _turn_back(saga: Saga, step: Step, refusal: Refusal, position: int) -> None:
    stored = {"kind": kind_of(refusal), "code": refusal.code, "detail": refusal.detail}
    with transaction.atomic():
        _log(saga, step, SagaLog.Action.DO, SagaLog.Outcome.REFUSED, refusal.detail)
        _hold(
            saga,
            status=Saga.Status.UNDOING,
            position=position,
            refusal=stored | refusal.facts,
            data=saga.data,
        )


def _hold(saga: Saga, **changes: object) -> None:
    # Progress renews the lease.
    saga.advance(due_at=Now() + Saga.lease, **changes)


def _note_unknown(saga: Saga, step: Step, action: str, error: Exception) -> None:
    log.warning("%s: %s %s: %s", saga, action, step.name, error)
    _log(saga, step, action, SagaLog.Outcome.UNKNOWN, f"{type(error).__name__}: {error}"[:500])


def _log(saga: Saga, step: Step, action: str, outcome: str, detail: str = "") -> None:
    SagaLog.objects.create(saga=saga, step=step.name, action=action, outcome=outcome, detail=detail)
