"""The front reads whole requests before it uses a thread, and refuses invalid ones."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from severable.http import Front, app
from severable.http.answer import PART
from severable.http.body import Bodies
from severable.http.memory import Memory
from severable.http.threads import Threads
from severable.rpc.client.rest import MAX_MESSAGE_BYTES
from tests.front.asking import Answered, asked, scope_of

SMALL = Memory().free
LIMIT = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
CHUNKED = [("Transfer-Encoding", "chunked")]


class Application:
    """A WSGI application that records its requests."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.environ: dict[str, Any] = {}
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.go_on.wait(20)
        self.environ = environ
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.bodies.append(environ["wsgi.input"].read(length))
        headers = [("Content-Length", "2"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        start_response("204 No Content" if environ["PATH_INFO"] == "/204" else "200 OK", headers)
        return [b"o", b"k"]


@pytest.fixture
def wsgi() -> Iterator[Application]:
    application = Application()
    yield application
    application.go_on.set()


@pytest.fixture
def front(wsgi: Application) -> Front:
    return Front(Threads(wsgi), bodies=Bodies(seconds=0.2))


def ask(
    front: Front,
    *parts: bytes | None,
    method: str = "POST",
    target: str = "/x",
    headers: list[tuple[str, str]] | None = None,
) -> Answered:
    return asyncio.run(asked(front, scope_of(method, target, headers or []), list(parts)))


def length(of: int | str) -> list[tuple[str, str]]:
    return [("Content-Length", str(of))]


def sent_whole(front: Front, body: bytes, headers: list[tuple[str, str]], target: str) -> Answered:
    """Return the response to a request whose body is complete."""

    async def whole() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await front(scope, whole, send)

    return asyncio.run(asked(application, scope_of("POST", target, headers), []))


def assert_refused(answer: Answered, status: int, code: str) -> None:
    problem = json.loads(answer.body)
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert answer.all("Content-Type") == ["application/problem+json"]
    assert answer.all("Connection") == ["close"]
    assert problem["trace_id"]
    assert len(answer.all("X-Request-ID")) == 1


@pytest.mark.parametrize("headers", [length(3), CHUNKED, [("Transfer-Encoding", " Chunked ")]])
def test_a_body_reaches_the_view_however_it_is_framed(
    front: Front, wsgi: Application, headers: list[tuple[str, str]]
) -> None:
    """A chunked body was empty in Django: PATCH answered 200 and changed nothing."""
    assert sent_whole(front, b"abc", headers, "/x").status == 200
    assert wsgi.bodies == [b"abc"]
    assert wsgi.environ["CONTENT_LENGTH"] == "3"
    assert "HTTP_TRANSFER_ENCODING" not in wsgi.environ


@pytest.mark.parametrize("parts", [(b"ab", None), (None,)])
@pytest.mark.parametrize("headers", [length(3), CHUNKED])
def test_a_body_that_breaks_off_does_nothing(
    front: Front, wsgi: Application, headers: list[tuple[str, str]], parts: tuple[bytes | None, ...]
) -> None:
    """A body shorter than its Content-Length was executed: an order placed and paid."""
    assert_refused(ask(front, *parts, headers=headers), 400, "parse_error")
    assert wsgi.bodies == []


def test_a_body_that_is_shorter_than_it_says_does_nothing(front: Front, wsgi: Application) -> None:
    assert_refused(sent_whole(front, b"ab", length(3), "/x"), 400, "parse_error")
    assert wsgi.bodies == []


@pytest.mark.parametrize("headers", [length(3), CHUNKED])
@pytest.mark.parametrize("parts", [(), (b"a",)])
def test_a_body_that_takes_too_long_is_refused_and_takes_no_thread(
    front: Front, wsgi: Application, headers: list[tuple[str, str]], parts: tuple[bytes, ...]
) -> None:
    """Eight connections with one byte of a body each held all eight threads."""
    assert_refused(ask(front, *parts, headers=headers), 408, "timeout")
    assert wsgi.bodies == []


@pytest.mark.parametrize(
    "headers",
    [
        [*length(3), *CHUNKED],
        [*length(3), ("Transfer-Encoding", "identity")],
        *([("Transfer-Encoding", coding)] for coding in ("gzip, chunked", "chunked, chunked")),
        *([("Transfer-Encoding", coding)] for coding in ("\x0bchunked", "identity", "", "x")),
        *(length(of) for of in ("+3", "-3", "3, 3", "0x3", "3.0", "9" * 5000, "\xb2")),
        [*length(3), *length(3)],
        [*length(3), *length(4)],
    ],
)
def test_a_body_of_doubtful_length_is_refused(
    front: Front, wsgi: Application, headers: list[tuple[str, str]]
) -> None:
    assert_refused(ask(front, b"abc", headers=headers), 400, "parse_error")
    assert wsgi.bodies == []


@pytest.mark.parametrize(
    ("target", "limit"),
    [("/api/orders", LIMIT), ("/nowhere", LIMIT), ("/internal/x", MAX_MESSAGE_BYTES)],
)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_larger_body_is_refused_before_anything_else(
    front: Front, wsgi: Application, target: str, limit: int, chunked: bool
) -> None:
    """In one process, 401, 404 and 405 preceded 413; at the gateway they followed it."""
    for size in (limit, limit + 1):
        headers = CHUNKED if chunked else length(size)
        answer = sent_whole(front, b"x" * size, headers, target)
        if size > limit:
            assert_refused(answer, 413, "too_large")
    assert [len(body) for body in wsgi.bodies] == [limit]


def test_bodies_in_memory_are_bounded_and_small_ones_still_go_through(wsgi: Application) -> None:
    """Uploads that never end must not fill the memory or block orders."""
    front = Front(Threads(wsgi), bodies=Bodies(seconds=1, memory=Memory(2 * SMALL)))

    async def attack() -> list[Answered]:
        large = [b"x" * SMALL * 2]
        holding = [
            asyncio.ensure_future(asked(front, scope_of("POST", "/x", length(LIMIT)), large[:]))
            for _ in range(3)
        ]
        await asyncio.sleep(0)
        small = asked(front, scope_of("POST", "/x", length(SMALL)), [b"x" * SMALL, None])
        answers = await asyncio.gather(*holding, small)
        again = await asked(front, scope_of("POST", "/x", length(LIMIT)), [*large, None])
        return [*answers, again]

    *held, small, again = asyncio.run(attack())
    assert sorted(answer.status for answer in held) == [408, 408, 503]
    assert small.status == 400  # it was read; its sender is gone
    assert again.status == 400  # the memory is free again
    refused = next(answer for answer in held if answer.status == 503)
    assert_refused(refused, 503, "unavailable")
    assert refused.all("Retry-After") == ["2"]


def test_more_requests_than_may_wait_are_refused_at_once(wsgi: Application) -> None:
    wsgi.go_on.clear()
    front = Front(Threads(wsgi, threads=1, waiting=1))

    async def attack() -> list[Answered]:
        waiting = [
            asyncio.ensure_future(asked(front, scope_of("GET", "/x", []), [])) for _ in range(2)
        ]
        await asyncio.sleep(0)
        refused = await asked(front, scope_of("GET", "/x", []), [])
        live = await asked(front, scope_of("GET", "/health/live", []), [])
        wsgi.go_on.set()
        answers = await asyncio.gather(*waiting)
        return [refused, live, *answers, await asked(front, scope_of("GET", "/x", []), [])]

    refused, live, *others = asyncio.run(attack())
    assert (refused.status, json.loads(refused.body)["code"]) == (503, "unavailable")
    assert refused.all("Retry-After") == ["2"]
    assert (live.status, live.body) == (200, b'{"status": "ok"}')
    assert [other.status for other in others] == [200] * 3


def test_health_is_answered_without_a_thread_and_without_a_body(
    front: Front, wsgi: Application
) -> None:
    answer = ask(front, target="/health/live", headers=length(100))
    assert (answer.status, answer.body) == (200, b'{"status": "ok"}')
    assert wsgi.bodies == []


def test_an_answer_comes_whole_and_its_cookies_each_once(front: Front) -> None:
    answer = ask(front, method="GET")
    assert (answer.body, answer.all("Content-Length")) == (b"ok", ["2"])
    assert answer.all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(("method", "target", "has"), [("HEAD", "/x", ["2"]), ("GET", "/204", [])])
def test_an_answer_without_a_body(front: Front, method: str, target: str, has: list[str]) -> None:
    answer = ask(front, method=method, target=target)
    assert (answer.body, answer.all("Content-Length")) == (b"", has)


def test_a_header_with_an_underscore_does_not_pass_for_another(
    front: Front, wsgi: Application
) -> None:
    """WSGI gives X_Forwarded_For and X-Forwarded-For the same name."""
    ask(front, method="GET", headers=[("X_Forwarded_For", "evil"), ("Content_Length", "9")])
    assert "HTTP_X_FORWARDED_FOR" not in wsgi.environ
    assert wsgi.bodies == [b""]


def test_the_path_is_what_was_sent(front: Front, wsgi: Application) -> None:
    ask(front, method="GET", target="/a%20b/%C3%A9/%FF?x=%&y=%25")
    assert wsgi.environ["PATH_INFO"] == "/a b/\xc3\xa9/\xff"
    assert wsgi.environ["QUERY_STRING"] == "x=%&y=%25"


def test_a_handler_that_breaks_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    def broken(environ: Any, start_response: Any) -> list[bytes]:
        raise RuntimeError("secret")

    answer = ask(Front(Threads(broken)), method="GET")
    assert (answer.status, json.loads(answer.body)["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert "secret" in caplog.text


def test_clients_that_read_nothing_hold_little_and_not_for_ever(
    wsgi: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response of 1.5 MB to a client that read nothing stayed in memory forever."""
    monkeypatch.setattr(app, "READ_SECONDS", 0.2)
    large = Front(Threads(lambda environ, start: start("200 OK", []) or [b"x" * PART * 2]))
    monkeypatch.setattr(large.exchanges, "response_memory", Memory(PART, free=PART))
    sent: list[dict[str, Any]] = []

    async def never(message: dict[str, Any]) -> None:
        sent.append(message)
        await asyncio.Event().wait()

    async def attack() -> Answered:
        scope = scope_of("GET", "/x", [])
        slow = asyncio.ensure_future(large(scope, never, never))  # type: ignore[arg-type]
        while not sent:
            await asyncio.sleep(0.01)
        refused = await asked(large, scope, [])
        await slow
        assert (await asked(large, scope, [])).status == 200
        return refused

    answer = asyncio.run(attack())
    assert (answer.status, answer.all("Retry-After")) == (503, ["2"])
