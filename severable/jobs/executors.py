"""The registry of the functions that execute jobs, by model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

J = TypeVar("J")

_executors: dict[type[Any], Callable[[Any], None]] = {}


def executes(model: type[J]) -> Callable[[Callable[[J], None]], Callable[[J], None]]:
    """Return a decorator for the function that executes a claimed row of a model.

    It runs outside any transaction, and must call the row's `complete` in the transaction of its
    effect.
    """

    def register(function: Callable[[J], None]) -> Callable[[J], None]:
        _executors[model] = function
        return function

    return register


def executor_of(model: type[J]) -> Callable[[J], None]:
    """Return the function that executes a model's rows. Raises TypeError if there is none."""
    if model not in _executors:
        raise TypeError(f"no function executes {model.__name__}: see `executes`")
    return _executors[model]
