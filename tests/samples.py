"""Samples: what the generic tests of the machine need to know of each context.

A context declares them beside its tests, in tests/<context>/samples.py. Each of these names may be
left out:

ROUTES       {(method, path): Route}: every route of its public API, as its urls.py has the path.
PARAMETERS   {name: make}: make(owner, known) makes an object of the user `owner`, and returns the
             value that names it in paths: {"order_id": make_order}. `known` has the values of the
             other names, each made when it is first used. Names are unique: a ViewSet gives its
             parameter one by `lookup_url_kwarg`.
calls        calls(user, known) yields (stub class, method name, request): at least one call of each
             method of its contract that may be repeated, each with something to do.
ROWS         {model: make}: make(n) creates the n-th row of a model. Without it, a row is made by
             filling the required fields.
PARTS        {model: add}: add(row, n) adds the n-th part to a row, for each model whose page in the
             admin has inlines.
EDITABLE     {model: verbs}: what staff may do by hand in the admin with rows that are not Records:
             "add", "change".
ADMIN_VIEWS  Paths below /admin/ that are neither Django's nor a button of a row's page. They need
             tests of their own.
HIDDEN       {model: lookups}: lookups that would find out hidden values, and are refused.
WORDS        Texts that are valid somewhere, which the fuzz test mixes into its requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from django.conf import settings
from google.protobuf.message import Message

from severable.rpc import registry
from severable.rpc.client.policy import repeatable

Known = Mapping[str, str]
Call = tuple[Callable[..., Any], str, Message]
Statuses = tuple[int, int, int, int]

# What is answered to anonymous clients, another customer, the owner of what the path names, and
# staff with all permissions.
PUBLIC: Statuses = (200, 200, 200, 200)
OWN: Statuses = (401, 200, 200, 200)  # each sees their own
OWNER: Statuses = (401, 404, 200, 404)
OWNER_AND_STAFF: Statuses = (401, 404, 200, 200)
STAFF: Statuses = (401, 403, 403, 200)


@dataclass(frozen=True)
class Route:
    """Who may use a route, and how.

    statuses    what anonymous, another customer, the owner and staff are answered
    body        what they send, or a function of the values of PARAMETERS that returns it
    granted     what one permission alone gets another customer, if it is not what `statuses` has
    keyless     a POST that takes no Idempotency-Key: it changes nothing, or its answer is secret
    documented  statuses that the OpenAPI document must have
    """

    statuses: Statuses
    body: Any = None
    granted: Mapping[str, int] = field(default_factory=dict)
    keyless: bool = False
    documented: frozenset[int] | set[int] = frozenset()

    def body_for(self, known: Known) -> Any:
        """Return the body, for objects with these values."""
        return self.body(known) if callable(self.body) else self.body


class MissingSample(AssertionError):
    """A generic test does not know enough of a context. The message says what to add where."""

    def __init__(self, module: str, what: str, add: str) -> None:
        super().__init__(f"{what}: {add} in {file_for(module)}, which tests/samples.py describes")


def file_for(module: str) -> str:
    """Return the file that has the samples for what a module such as apps.orders.api defines."""
    package, _, rest = module.partition(".")
    return f"tests/{rest.partition('.')[0]}/samples.py" if package == "apps" else "the test"


class Objects(Known):
    """Objects of a user, made when their name is first used."""

    def __init__(self, owner: Any) -> None:
        self._owner, self._makers = owner, collected("PARAMETERS")
        self._values: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            self._values[name] = self._makers[name](self._owner, self)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@cache
def modules() -> dict[str, ModuleType]:
    """Return the samples of each context that has some, in the order of topology.toml."""
    found = {}
    for context in settings.TOPOLOGY.contexts:
        name = f"tests.{context}.samples"
        try:
            found[context] = import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, f"tests.{context}"):
                raise
    return found


def collected(name: str) -> dict[Any, Any]:
    """Return the entries of all contexts under a name such as "ROUTES"."""
    return {k: v for module in modules().values() for k, v in getattr(module, name, {}).items()}


def listed(name: str) -> list[str]:
    """Return the texts of all contexts under a name such as "WORDS"."""
    return [text for module in modules().values() for text in getattr(module, name, ())]


def calls(user: Any, known: Known) -> Iterator[Call]:
    """Yield the calls of all contexts."""
    for module in modules().values():
        if hasattr(module, "calls"):
            yield from module.calls(user, known)


def check_calls(called: set[tuple[str, str]]) -> None:
    """Raise MissingSample for a method that may be repeated and is not among these, of which each
    is a service and a method."""
    for full_name in registry.methods:
        package, _, path = full_name.strip("/").rpartition(".")
        service, method = path.split("/")
        if repeatable(full_name) and (service, method) not in called:
            raise MissingSample(
                f"apps.{settings.TOPOLOGY.context_of(package).name}",
                f"no sample calls {full_name}",
                f'yield ({service}Stub, "{method}", <its request>) from calls()',
            )
