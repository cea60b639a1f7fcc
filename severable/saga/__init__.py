"""Sagas: steps with compensations, driven from a row that any process can resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.saga import definition as definition
    from severable.saga import driver as driver
    from severable.saga import story as story
    from severable.saga.definition import Definition as Definition
    from severable.saga.definition import Step as Step
    from severable.saga.definition import define as define
    from severable.saga.models import Outcome as Outcome
    from severable.saga.models import Saga as Saga
else:
    __getattr__ = door(
        __name__,
        {
            "Definition": "definition",
            "Outcome": "models",
            "Saga": "models",
            "Step": "definition",
            "define": "definition",
            "definition": "definition",
            "driver": "driver",
            "story": "story",
        },
    )

__all__ = [
    "Definition",
    "Outcome",
    "Saga",
    "Step",
    "define",
    "definition",
    "driver",
    "story",
]
