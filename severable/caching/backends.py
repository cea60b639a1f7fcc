"""The deployment's cache: shared by its processes, and volatile.

It never delays callers for long: after a failure it is not used for SKIP_SECONDS.
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

SKIP_SECONDS = 5.0  # for which a cache that has failed is not used
GENERATION_SECONDS = 2 * 86_400  # longer than any entry


class CacheKey:
    """The cache keys of a request about a subject. A change of the subject invalidates the
    responses to all requests about it."""

    def __init__(self, subject: str, request: str) -> None:
        self.generation = _generation_key(subject)
        digest = sha256(request.encode()).hexdigest()
        self.response, self.loading = f"response:{digest}", f"loading:{digest}"


@dataclass(frozen=True)
class Lookup:
    """The result of a lookup."""

    response: bytes | None  # None if there is none of the current generation
    generation: str | None
    loading: bool  # True if another caller is loading the response


class ReadThroughCache:
    """Responses with a time to live, which a change of their subject invalidates.

    A response is valid only under its subject's current generation, a random token. Invalidation
    sets a new token: no entry has to be found and deleted, and a caller that called the owner
    before and stores its response afterwards stores it under the old token, which is never read.
    A token that is lost, or written by two processes at once, costs a call and is never wrong.

    If the cache fails, nothing is found, and it is not used for SKIP_SECONDS.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._circuit = Circuit(failures=1, seconds=SKIP_SECONDS, clock=clock)

    def find(self, key: CacheKey) -> Lookup | None:
        """Look up a key in one round trip. Return None if the cache does not respond."""
        return self._try(lambda: _find(key))

    def claim(self, key: CacheKey, seconds: float) -> bool:
        """Acquire the loading lock for `seconds`. Return False if another caller has it."""
        return self._try(lambda: cache.add(key.loading, 1, seconds)) or False

    def release(self, key: CacheKey) -> None:
        """Release the loading lock."""
        self._try(lambda: cache.delete(key.loading))

    def begin(self, key: CacheKey) -> str | None:
        """Begin a new generation and return it, or None if the cache does not respond."""
        return self._try(lambda: _begin(key.generation))

    def store(self, key: CacheKey, response: bytes, generation: str, seconds: float) -> None:
        """Store a response, under the generation that was current before the call."""
        entry = [generation, b64encode(response).decode()]
        self._try(lambda: cache.set(key.response, entry, seconds))

    def _try(self, operation: Callable[[], T]) -> T | None:
        epoch = self._circuit.enter()
        if epoch is None:
            return None
        failed = True
        try:
            result = operation()
            failed = False
        except Exception as error:
            log.warning("the cache failed and is not used for %s s: %r", SKIP_SECONDS, error)
            return None
        finally:
            self._circuit.leave(epoch, failed)
        return result


responses = ReadThroughCache()  # of this process


def invalidate(subject: str) -> None:
    """Invalidate all responses about a subject. Raises the cache's error if it does not respond:
    retry then."""
    _begin(_generation_key(subject))


def _find(key: CacheKey) -> Lookup:
    # Loading first: the lock is released only when the response is stored.
    found = cache.get_many([key.loading, key.generation, key.response])
    stored_under, response = found.get(key.response) or (None, "")
    generation = found.get(key.generation)
    return Lookup(
        response=b64decode(response) if generation and stored_under == generation else None,
        generation=generation,
        loading=key.loading in found,
    )


def _begin(generation_key: str) -> str:
    generation = uuid4().hex
    cache.set(generation_key, generation, GENERATION_SECONDS)
    return generation


def _generation_key(subject: str) -> str:
    return f"generation:{sha256(subject.encode()).hexdigest()}"


class Serializer:
    """JSON, also for django-redis: pickle would execute code that was put into the cache."""

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        pass

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        """Return the value, or None if `data` is no JSON, as in the cache of an earlier version."""
        try:
            return json.loads(data)
        except ValueError:
            return None


class FolderCache(FileBasedCache):
    """Django's cache in a folder, safe for several processes."""

    MAX_ENTRIES = 10_000  # files; if there are more, a third are deleted
    CULL_CHANCE = 0.01

    def __init__(self, dir: Any, params: Any) -> None:
        super().__init__(dir, {"max_entries": self.MAX_ENTRIES, **params})
        self._adding = Path(dir) / "adding"
        self._serializer = Serializer()

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Add a key atomically: in Django's own, all who add it at once succeed."""
        self._createdir()  # type: ignore[attr-defined]
        with self._adding.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return super().add(key, value, timeout, version)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        try:
            content = Path(self._key_to_file(key, version)).read_bytes()  # type: ignore[attr-defined]
        except FileNotFoundError:
            return default
        found = self._unexpired(content)
        return found[0] if found else default

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        value = self.get(key, version=version)
        if value is not None:
            self.set(key, value, timeout, version)
        return value is not None

    def _write_content(self, file: Any, timeout: Any, value: Any) -> None:
        file.write(self._serializer.dumps([self.get_backend_timeout(timeout), value]))

    def _is_expired(self, f: Any) -> bool:
        # Django's deletes the file by its name, which a new value may have by now.
        return self._unexpired(f.read()) is None

    def _unexpired(self, content: bytes) -> tuple[Any] | None:
        expires, value = self._serializer.loads(content) or (0, None)
        return (value,) if expires is None or expires >= time() else None

    def _cull(self) -> None:
        # Django's lists the folder at each write: 12 ms if it has 5000 files.
        if random.random() < self.CULL_CHANCE:  # noqa: S311
            super()._cull()  # type: ignore[misc]
