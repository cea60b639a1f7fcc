"""The deployment's cache: one for all of its processes, which may lose everything at any moment.

Callers are never held up by it: where it fails, it is left alone for a while.
"""

from __future__ import annotations

import fcntl
import json
import logging
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic, time
from typing import Any, TypeVar
from uuid import uuid4

from django.core.cache import cache
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.filebased import FileBasedCache

from severable.rpc.circuit import Circuit

log = logging.getLogger(__name__)

T = TypeVar("T")

SKIP_SECONDS = 5.0  # for so long nobody goes to a cache that has failed
GENERATION_SECONDS = 2 * 86_400  # longer than anything is kept under one


class Question:
    """What is asked, about a subject whose change ends the answers to all questions about it."""

    def __init__(self, subject: str, question: str) -> None:
        self.generation = _generation_key(subject)
        named = sha256(question.encode()).hexdigest()
        self.answer, self.loading = f"answer:{named}", f"loading:{named}"


@dataclass(frozen=True)
class Found:
    """What the cache has for a question."""

    answer: bytes | None  # None where there is none, or none of the present generation
    generation: str | None
    loading: bool  # whether somebody is getting the answer


class Answers:
    """Answers that are kept for a while, and that a change of their subject ends.

    An answer counts only under its subject's present generation, a random token. Forgetting sets
    a new one: nothing has to be found and deleted, and whoever asked the owner before then and
    comes back later keeps an answer that nobody will ever see. A token that is lost, or written by
    two at once, costs a call and is never wrong.

    Where the cache fails there is nothing, and nobody goes to it for SKIP_SECONDS.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._circuit = Circuit(failures=1, seconds=SKIP_SECONDS, clock=clock)

    def find(self, asked: Question) -> Found | None:
        """What is kept, in one round trip. None where the cache does not answer."""
        return self._try(lambda: _find(asked))

    def claim(self, asked: Question, seconds: float) -> bool:
        """Become the one who gets the answer, for so many seconds. False where another is it."""
        return self._try(lambda: cache.add(asked.loading, 1, seconds)) or False

    def let_go(self, asked: Question) -> None:
        """Be it no more."""
        self._try(lambda: cache.delete(asked.loading))

    def begin(self, asked: Question) -> str | None:
        """The subject's generation from now on. None where the cache does not answer."""
        return self._try(lambda: _begin(asked.generation))

    def keep(self, asked: Question, answer: bytes, generation: str, seconds: float) -> None:
        """Keep an answer, under the generation that was the present one before it was got."""
        kept = [generation, b64encode(answer).decode()]
        self._try(lambda: cache.set(asked.answer, kept, seconds))

    def _try(self, operation: Callable[[], T]) -> T | None:
        era = self._circuit.enter()
        if era is None:
            return None
        failed = True
        try:
            result = operation()
            failed = False
        except Exception as error:
            log.warning("the cache failed, and is left alone for %s s: %r", SKIP_SECONDS, error)
            return None
        finally:
            self._circuit.leave(era, failed)
        return result


answers = Answers()  # of this process


def forget(subject: str) -> None:
    """End all answers about a subject. Raises what the cache raises where it cannot be reached:
    this has to be done again."""
    _begin(_generation_key(subject))


def _find(asked: Question) -> Found:
    # Loading first: whoever has loaded lets go of it only when the answer is in place.
    found = cache.get_many([asked.loading, asked.generation, asked.answer])
    kept_under, answer = found.get(asked.answer) or (None, "")
    generation = found.get(asked.generation)
    return Found(
        answer=b64decode(answer) if generation and kept_under == generation else None,
        generation=generation,
        loading=asked.loading in found,
    )


def _begin(generation_key: str) -> str:
    generation = uuid4().hex
    cache.set(generation_key, generation, GENERATION_SECONDS)
    return generation


def _generation_key(subject: str) -> str:
    return f"generation:{sha256(subject.encode()).hexdigest()}"


class Serializer:
    """JSON, for django-redis too: pickle would execute what somebody has put into the cache."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        pass

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        """Return a value, or None if this is no JSON, as in the cache of an earlier version."""
        try:
            return json.loads(data)
        except ValueError:
            return None


class FolderCache(FileBasedCache):
    """Django's cache in a folder, made fit for many processes at once."""

    MAX_ENTRIES = 10_000  # files, of which a third go where there are more
    CULL_CHANCE = 0.01

    def __init__(self, dir: Any, params: Any) -> None:
        super().__init__(dir, {"max_entries": self.MAX_ENTRIES, **params})
        self._adding = Path(dir) / "adding"
        self._serializer = Serializer()

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Of those who add the same key at once, one wins: Django's own lets all."""
        self._createdir()  # type: ignore[attr-defined]
        with self._adding.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return super().add(key, value, timeout, version)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        try:
            kept = Path(self._key_to_file(key, version)).read_bytes()  # type: ignore[attr-defined]
        except FileNotFoundError:
            return default
        found = self._unexpired(kept)
        return found[0] if found else default

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        value = self.get(key, version=version)
        if value is not None:
            self.set(key, value, timeout, version)
        return value is not None

    def _write_content(self, file: Any, timeout: Any, value: Any) -> None:
        file.write(self._serializer.dumps([self.get_backend_timeout(timeout), value]))

    def _is_expired(self, f: Any) -> bool:
        # Django's deletes the file, by a name that may be a new value's by now.
        return self._unexpired(f.read()) is None

    def _unexpired(self, kept: bytes) -> tuple[Any] | None:
        expires, value = self._serializer.loads(kept) or (0, None)
        return (value,) if expires is None or expires >= time() else None

    def _cull(self) -> None:
        # Django's looks into the folder at each write: 12 ms where that has 5000 files.
        if random.random() < self.CULL_CHANCE:  # noqa: S311
            super()._cull()  # type: ignore[misc]
