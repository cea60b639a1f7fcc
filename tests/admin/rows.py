"""Rows of every model, by the dozen, for counting the queries of a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from django.contrib import admin
from django.db.models import Field, ForeignKey, Model
from django.utils import timezone

from severable.events.models import Delivery, Event, TransactionOffset
from severable.saga.models import Saga
from tests import samples

M = TypeVar("M", bound=Model)
NOW = timezone.now()


def event(n: int, stream: str = "") -> Event:
    return Event.objects.create(
        transaction_id=0,
        source="orders",
        stream=stream or f"s{n}",
        version=n,
        type="order.OrderPaid",
        data={},
        correlation_id=f"c{n}",
    )


def delivery(n: int) -> Delivery:
    return Delivery.objects.create(
        event_id=UUID(int=n),
        handler="orders.pack",
        context="orders",
        stream="s",
        event={},
    )


def saga(n: int) -> Saga:
    return Saga.objects.create(name="place_order", key=UUID(int=n), correlation_id=f"c{n}")


def offset(n: int) -> TransactionOffset:
    return TransactionOffset.objects.create(id=1000 + n, server=f"s{n}", value=n)  # 1 is real


def logged(of: Saga, n: int) -> None:
    of.log = of.logged(f"stock{n}", "execute", "done")
    of.save()


# Of the machine's models; those of contexts are in their samples.
ROWS: dict[type[Model], Callable[[int], Model]] = {
    Event: event,
    Delivery: delivery,
    Saga: saga,
    TransactionOffset: offset,
}
PARTS: dict[type[Model], Callable[[Any, int], None]] = {Saga: logged}


def make(model: type[M], n: int) -> M:
    """Create the n-th row of a model, by its sample or by filling its required fields. Raises
    MissingSample if neither works."""
    sample = (ROWS | samples.collected("ROWS")).get(model)
    if sample:
        return cast(M, sample(n))
    required = {f.name: _value(f, n) for f in model._meta.concrete_fields if _is_required(f)}
    try:
        return cast(M, model._default_manager.create(**required))
    except Exception as error:
        raise samples.MissingSample(
            model.__module__,
            f"no row of {model._meta.label} could be made of {required} ({error})",
            f"add {model.__name__} to ROWS",
        ) from error


def parts(model: type[Model]) -> Callable[[Any, int], None]:
    """Return the function that adds a part to a row. Raises MissingSample."""
    found = (PARTS | samples.collected("PARTS")).get(model)
    if found is None:
        what = f"the page of {model._meta.label} has inlines, and no sample of them"
        raise samples.MissingSample(model.__module__, what, f"add {model.__name__} to PARTS")
    return found


def with_parts() -> list[type[Model]]:
    """Return the models whose page in the admin has parts that may be many."""
    inlined = {model for model, made in admin.site._registry.items() if made.inlines}
    return sorted(
        inlined | PARTS.keys() | samples.collected("PARTS").keys(), key=lambda m: m._meta.label
    )


def _is_required(field: Field[Any, Any]) -> bool:
    given = field.has_default() or field.has_db_default()
    return not (given or field.null or field.blank or field.generated)


def _value(field: Field[Any, Any], n: int) -> Any:
    if isinstance(field, ForeignKey):
        return make(field.related_model, n)
    if field.flatchoices:
        return field.flatchoices[0][0]
    kind = field.get_internal_type()
    if kind in ("CharField", "TextField", "SlugField"):
        return f"{n}-{field.name}"[: field.max_length]
    return _VALUES[kind](n) if kind in _VALUES else n


_VALUES: dict[str, Callable[[int], Any]] = {
    "UUIDField": lambda n: UUID(int=n),
    "DateTimeField": lambda n: NOW,
    "DateField": lambda n: NOW.date(),
    "TimeField": lambda n: NOW.time(),
    "BooleanField": lambda n: False,
    "JSONField": lambda n: {},
    "BinaryField": lambda n: b"",
}
