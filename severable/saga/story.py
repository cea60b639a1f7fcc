"""The story of a saga: its steps, including those that have not run yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from severable.saga.models import Action, LogEntry, Outcome, Saga


@dataclass(frozen=True)
class StoryStep:
    """One attempt at a step; or a step that has not run yet: then `at` is None and `state` is "to
    do" or "to compensate"."""

    saga: str
    name: str
    state: str
    at: datetime | None = None
    detail: str = ""

    @property
    def what(self) -> str:
        return f"{self.saga}: {self.name}"


def of(key: UUID) -> list[StoryStep]:
    """Return the story of all sagas about one object, such as an order."""
    sagas = Saga.objects.filter(key=key).order_by("created_at")
    return [step for saga in sagas for step in of_saga(saga)]


def of_saga(saga: Saga) -> list[StoryStep]:
    """Return the story of one saga."""
    return [*_past(saga), *_future(saga)]


def _past(saga: Saga) -> Iterator[StoryStep]:
    for entry in saga.entries:
        detail = f"{entry.detail} ({entry.times} times)" if entry.times > 1 else entry.detail
        yield StoryStep(saga.name, entry.step, _state(entry), entry.time, detail)


def _state(entry: LogEntry) -> str:
    compensated = entry.action == Action.COMPENSATE and entry.outcome == Outcome.DONE
    return "compensated" if compensated else entry.outcome


def _future(saga: Saga) -> Iterator[StoryStep]:
    if saga.ended:
        return  # its definition may have been removed since
    try:
        steps = saga.definition.steps
    except LookupError:
        return  # of another release, or of a context that has moved away
    if saga.status == Saga.Status.RUNNING:
        for step in steps[saga.position :]:
            yield StoryStep(saga.name, step.name, "to do")
    if saga.status == Saga.Status.COMPENSATING:
        for step in reversed(steps[: saga.position + 1]):
            if step.compensation:
                yield StoryStep(saga.name, step.name, "to compensate")
