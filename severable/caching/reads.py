"""Calls by `cached_stub`, whose answers are kept: `[cached]` in topology.toml says which, for how
long, and what ends them."""

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

from severable.caching.backends import Answers, Found, Question, answers, forget
from severable.events import handlers
from severable.rpc.outcome import CompletedCall
from severable.topology import Cached, TopologyError, contracts

POLL_SECONDS = 0.01


class Rule:
    """How the answers of one method are kept. Raises TopologyError where its contract has no such
    method, field or event."""

    def __init__(self, entry: Cached) -> None:
        self.entry = entry
        self._method = _method(entry)
        fields = [_key_field(entry, of) for of in (self._method.input_type, *_events(entry))]
        if len({field.type for field in fields}) > 1:
            raise _wrong(entry, f"{entry.key!r} is not of one type in the request and the events")

    def subject(self, message: Message) -> str:
        """Whom a request or an event is about."""
        return f"{self.entry.method} {getattr(message, self.entry.key)!r}"

    def question(self, request: Message) -> Question:
        """What a request asks, by this very contract: answers to another one may lack fields."""
        asked = request.SerializeToString(deterministic=True).hex()
        return Question(self.subject(request), f"{self.entry.method} {self._contract} {asked}")

    @cached_property
    def answer(self) -> type[Message]:
        """The class of the answer."""
        return message_factory.GetMessageClass(self._method.output_type)

    @cached_property
    def _contract(self) -> str:
        return sha256(self._method.containing_service.file.serialized_pb).hexdigest()


class CachedReads(grpc.UnaryUnaryClientInterceptor):
    """Answers from the cache where it can; of those who ask the same, one asks for all.

    Comes after Deadline, which gives every call a timeout. Refusals and failures are not kept.
    Where somebody else is asking, a future waits for that one before it is there.
    """

    def __init__(self, rules: Iterable[Rule], answers: Answers = answers) -> None:
        self._rules = {f"/{rule.entry.method}": rule for rule in rules}
        self._answers = answers

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], details: Any, request: Any
    ) -> Any:
        rule = self._rules.get(details.method)
        if rule is None:
            return continuation(details, request)
        ends = monotonic() + details.timeout
        asked = rule.question(request)
        found, ours = self._look(asked, details.timeout)
        if found and found.answer is not None:
            return CompletedCall(rule.answer.FromString(found.answer))
        generation = found and (found.generation or self._answers.begin(asked))

        def keep(outcome: Any) -> None:
            if generation and outcome.code() is grpc.StatusCode.OK:
                answer = outcome.result().SerializeToString()
                self._answers.keep(asked, answer, generation, rule.entry.seconds)
            if ours:
                self._answers.let_go(asked)

        left = max(0.0, ends - monotonic())
        outcome = continuation(details._replace(timeout=left), request)
        outcome.add_done_callback(keep)
        return outcome

    def _look(self, asked: Question, seconds: float) -> tuple[Found | None, bool]:
        """What there is, and whether it is ours to get it for all."""
        found = self._answers.find(asked)
        if found is None or found.answer is not None:
            return found, False
        if not self._answers.claim(asked, seconds):
            return self._wait(asked, seconds / 2), False
        found = self._answers.find(asked)  # it may have come while we were on our way
        if found and found.answer is not None:
            self._answers.let_go(asked)
            return found, False
        return found, True

    def _wait(self, asked: Question, seconds: float) -> Found | None:
        """What has come when whoever gets it is done, or the time is over."""
        ends = monotonic() + seconds
        while True:
            found = self._answers.find(asked)
            over = monotonic() >= ends
            if over or found is None or found.answer is not None or not found.loading:
                return found
            sleep(POLL_SECONDS)


def rules(entries: Iterable[Cached]) -> list[Rule]:
    """Rules for entries of topology.toml. Raises TopologyError with what no contract bears out."""
    return [Rule(entry) for entry in entries]


def rules_here() -> list[Rule]:
    """Those of methods that this deployment may call in another one, if it hears of events."""
    topology, here = settings.TOPOLOGY, settings.DEPLOYMENT
    called = {callee for context in here.contexts for callee in topology.contexts[context].calls}
    outside = called.difference(here.contexts)
    if not (here.queues and settings.CACHE_IS_SHARED):
        return []
    return rules(entry for entry in topology.cached if entry.owner in outside)


def invalidation_handlers(rules: Iterable[Rule], context: str) -> list[handlers.Handler]:
    """Handlers that end answers, one for each type of event, on the queue of a context."""
    ended: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        for event in rule.entry.invalidated_by:
            ended[event].append(rule)
    return [
        handlers.Handler(f"cache.{event}", context, event, partial(_forget, its), ())
        for event, its in ended.items()
    ]


def listen() -> None:
    """Check what topology.toml says is cached, and have what is cached here ended by its events."""
    rules(settings.TOPOLOGY.cached)
    for handler in invalidation_handlers(rules_here(), next(iter(settings.DEPLOYMENT.queues), "")):
        handlers.add(handler)


def _forget(rules: list[Rule], event: Message) -> None:
    for rule in rules:
        forget(rule.subject(event))


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
