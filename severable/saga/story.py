"""A saga transition step by step, including the steps that have not run yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from severable.saga.models import Saga, SagaLog


@dataclass(frozen=True)
class Transition:
    """One attempt at a step, or a step to come: then `at` is None and `state` is "to do" or
    "to compensate"."""

    saga: str
    name: str
    state: str
    at: datetime | None = None
    detail: str = ""

    @property
    def what(self) -> str:
        return f"{self.saga}: {self.name}"


def of(key: UUID) -> list[Transition]:
    """The story of all sagas about one thing, such as an order."""
    sagas = Saga.objects.filter(key=key).prefetch_related("log").order_by("created_at")
    return [transition for saga in sagas for transition in of_saga(saga)]


def of_saga(saga: Saga) -> list[Transition]:
    """The story of one saga."""
    return [*_past(saga), *_future(saga)]


def _past(saga: Saga) -> Iterator[Transition]:
    for entry in saga.log.all():
        compensated = (
            entry.action == SagaLog.Action.COMPENSATE and entry.outcome == SagaLog.Outcome.DONE
        )
        state = "compensated" if compensated else entry.outcome
        yield Transition(saga.name, entry.step, state, entry.at, entry.detail)


def _future(saga: Saga) -> Iterator[Transition]:
    if saga.ended:
        return  # and its definition may be gone by now
    try:
        steps = saga.definition.steps
    except LookupError:
        return  # of another release, or of a context that has moved away
    if saga.status == Saga.Status.RUNNING:
        for step in steps[saga.position :]:
            yield Transition(saga.name, step.name, "to do")
    if saga.status == Saga.Status.COMPENSATING:
        for step in reversed(steps[: saga.position + 1]):
            if step.compensation:
                yield Transition(saga.name, step.name, "to compensate")
