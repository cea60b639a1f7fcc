"""The cached calls of `cached_stub`: `[cached]` in topology.toml defines the methods, the time to
live and the events that invalidate their responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from hashlib import sha256
from time import monotonic, sleep
from typing import Any

import grpc
from django.conf import settings
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from severable.caching.backends import CacheKey, Lookup, ReadThroughCache, invalidate, responses
from severable.events import handlers
from severable.rpc.outcome import CompletedCall
from severable.topology import Cached, TopologyError, contracts

POLL_SECONDS = 0.01


class Rule:
    """The caching rule of one method. Raises TopologyError if its contract has no such method,
    field or event."""

    def __init__(self, entry: Cached) -> None:
        self.entry = entry
        self._method = _method(entry)
        fields = [_key_field(entry, of) for of in (self._method.input_type, *_events(entry))]
        if len({field.type for field in fields}) > 1:
            raise _wrong(entry, f"{entry.key!r} is not of one type in the request and the events")

    def subject(self, message: Message) -> str:
        """Return the subject that a request or an event is about."""
        return f"{self.entry.method} {getattr(message, self.entry.key)!r}"

    def cache_key(self, request: Message) -> CacheKey:
        """Return the key of a request. It includes a hash of the contract: responses of another
        version may lack fields."""
        fields = request.SerializeToString(deterministic=True).hex()
        return CacheKey(self.subject(request), f"{self.entry.method} {self._contract} {fields}")

    @cached_property
    def response(self) -> type[Message]:
        """Return the class of the response."""
        return message_factory.GetMessageClass(self._method.output_type)

    @cached_property
    def _contract(self) -> str:
        return sha256(self._method.containing_service.file.serialized_pb).hexdigest()


class CachedReads(grpc.UnaryUnaryClientInterceptor):
    """Return responses from the cache if it has them; of several equal calls at once, only one
    calls the owner.

    Comes after Deadline, which gives every call a timeout. Domain errors and failures are not
    cached. If another caller is loading the response, `future` waits for it before it returns.
    """

    def __init__(self, rules: Iterable[Rule], cache: ReadThroughCache = responses) -> None:
        self._rules = {f"/{rule.entry.method}": rule for rule in rules}
        self._cache = cache

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        rule = self._rules.get(details.method)
        if rule is None:
            return continuation(details, request)
        ends = monotonic() + details.timeout
        key = rule.cache_key(request)
        found, claimed = self._look_up(key, details.timeout)
        if found and found.response is not None:
            return CompletedCall(rule.response.FromString(found.response))
        generation = found and (found.generation or self._cache.begin(key))

        def store(outcome: Any) -> None:
            if generation and outcome.code() is grpc.StatusCode.OK:
                response = outcome.result().SerializeToString()
                self._cache.store(key, response, generation, rule.entry.seconds)
            if claimed:
                self._cache.release(key)

        left = max(0.0, ends - monotonic())
        outcome = continuation(details._replace(timeout=left), request)
        outcome.add_done_callback(store)
        return outcome

    def _look_up(self, key: CacheKey, seconds: float) -> tuple[Lookup | None, bool]:
        """Return what is cached, and whether this call has claimed the loading lock."""
        found = self._cache.find(key)
        if found is None or found.response is not None:
            return found, False
        if not self._cache.claim(key, seconds):
            return self._wait(key, seconds / 2), False
        found = self._cache.find(key)  # it may have been stored before the claim
        if found and found.response is not None:
            self._cache.release(key)
            return found, False
        return found, True

    def _wait(self, key: CacheKey, seconds: float) -> Lookup | None:
        """Return what is cached when the other caller is done or the time is over."""
        ends = monotonic() + seconds
        while True:
            found = self._cache.find(key)
            over = monotonic() >= ends
            if over or found is None or found.response is not None or not found.loading:
                return found
            sleep(POLL_SECONDS)


def rules(entries: Iterable[Cached]) -> list[Rule]:
    """Return the rules of entries of topology.toml. Raises TopologyError if a contract differs."""
    return [Rule(entry) for entry in entries]


def rules_here() -> list[Rule]:
    """Return the rules of methods that this deployment calls remotely, if it receives events."""
    topology, here = settings.TOPOLOGY, settings.DEPLOYMENT
    called = {callee for context in here.contexts for callee in topology.contexts[context].calls}
    outside = called.difference(here.contexts)
    if not (here.queues and settings.CACHE_IS_SHARED):
        return []
    return rules(entry for entry in topology.cached if entry.owner in outside)


def invalidation_handlers(rules: Iterable[Rule], context: str) -> list[handlers.Handler]:
    """Return a handler for each type of event, on a context's queue, that invalidates responses."""
    invalidated: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        for event in rule.entry.invalidated_by:
            invalidated[event].append(rule)
    return [
        handlers.Handler(f"cache.{event}", context, event, partial(_invalidate, its), ())
        for event, its in invalidated.items()
    ]


def subscribe() -> None:
    """Check `[cached]` in topology.toml, and subscribe to the events that invalidate responses."""
    rules(settings.TOPOLOGY.cached)
    for handler in invalidation_handlers(rules_here(), next(iter(settings.DEPLOYMENT.queues), "")):
        handlers.add(handler)


def _invalidate(rules: list[Rule], event: Message) -> None:
    for rule in rules:
        invalidate(rule.subject(event))


def _method(entry: Cached) -> MethodDescriptor:
    method = contracts.method(entry.method)
    if method is None:
        raise _wrong(entry, "no contract has this method")
    if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS:
        raise _wrong(entry, "by its contract this method has side effects")
    return method


def _events(entry: Cached) -> Iterable[Descriptor]:
    for event in entry.invalidated_by:
        try:
            yield descriptor_pool.Default().FindMessageTypeByName(event)
        except KeyError:
            raise _wrong(entry, f"invalidated_by: no contract has the event {event}") from None


def _key_field(entry: Cached, message: Descriptor) -> Any:
    field = message.fields_by_name.get(entry.key)
    if field is None or field.is_repeated or field.message_type:
        raise _wrong(entry, f"key: {message.full_name} has no single {entry.key!r}")
    return field


def _wrong(entry: Cached, what: str) -> TopologyError:
    return TopologyError(f'cached."{entry.method}": {what}')
