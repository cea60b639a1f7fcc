"""Raw requests and the responses of both edges.

If nginx responds differently, the case says how and why.
"""

from __future__ import annotations

from dataclasses import dataclass

PASSES = 200
HOST = b"Host: shop\r\n"
SMUGGLED = b"GET /api/orders/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
THREE = b"Content-Length: 3"
END = b"0\r\n\r\n"
ORDER = b"00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Case:
    """A request, and the status of its answer; 0 is a connection that is closed without one."""

    raw: bytes
    status: int  # of the embedded gateway, and of nginx if nothing else is said
    nginx: int = -1
    why: str = ""  # nginx differs

    def expected(self, edge: str) -> int:
        """Return the status of an edge's answer."""
        return self.nginx if edge == "nginx" and self.why else self.status


def get(target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    """Return a request without a body."""
    return _head(b"%s %s HTTP/1.1" % (method, target), headers)


def post(*headers: bytes, body: bytes = b"abc") -> bytes:
    """Return a POST to /api/orders."""
    return _head(b"POST /api/orders HTTP/1.1", headers) + body


def _head(line: bytes, headers: tuple[bytes, ...]) -> bytes:
    return b"\r\n".join([line, b"Host: shop", *headers]) + b"\r\n\r\n"


STRICTER = "nginx refuses what the embedded server's parser still understands"
LAXER = "nginx understands it, and writes what it has understood anew for the context"
IGNORED = "nginx drops a header that is none, and contexts never see it"
SMALLER = "each of nginx's connections may hold less: 16 kB a line"

FRAMING = {
    "a length and chunks": Case(
        post(b"Content-Length: 5", CHUNKED, body=END + SMUGGLED), PASSES, 400, STRICTER
    ),
    "chunks and a length": Case(
        post(CHUNKED, THREE, body=b"1\r\nx\r\n0\r\n\r\n" + SMUGGLED), PASSES, 400, STRICTER
    ),
    "two lengths": Case(post(THREE, b"Content-Length: 4", body=b"abc" + SMUGGLED), 400),
    "the same length twice": Case(post(THREE, THREE), PASSES, 400, STRICTER),
    "a list of lengths": Case(post(b"Content-Length: 3, 3"), 400),
    "a length with a sign": Case(post(b"Content-Length: +3"), 400),
    "a length below 0": Case(post(b"Content-Length: -3"), 400),
    "a length in hex": Case(post(b"Content-Length: 0x3"), 400),
    "a length beyond all": Case(post(b"Content-Length: " + b"9" * 30), 400),
    "a length after a tab": Case(post(b"Content-Length:\t3"), PASSES, 400, STRICTER),
    "a length before a colon": Case(post(b"Content-Length : 3"), 400),
    "an identity": Case(post(b"Transfer-Encoding: identity"), 400),
    "zipped chunks": Case(post(b"Transfer-Encoding: gzip, chunked", body=END), 400),
    "chunks twice": Case(post(CHUNKED, CHUNKED, body=END), 400),
    "chunks, then identity": Case(post(CHUNKED + b", identity", body=END), 400),
    "chunks after a tab": Case(post(b"Transfer-Encoding: \x0bchunked", body=END), 400),
    "nearly chunks": Case(post(b"Transfer-Encoding: xchunked", body=END + SMUGGLED), 400),
    "chunks before a colon": Case(post(b"Transfer-Encoding : chunked", body=END + SMUGGLED), 400),
    "chunks with a NUL": Case(post(CHUNKED + b"\0", body=END), 400),
    "chunks with an underscore": Case(post(b"Transfer_Encoding: chunked", THREE), PASSES),
    "chunks on the next line": Case(post(b"Transfer-Encoding:\r\n chunked", body=END), 400),
    "chunks of HTTP/1.0": Case(
        b"POST /api/orders HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n\r\n" + END, 400
    ),
    "a chunk of no size": Case(post(CHUNKED, body=b"zz\r\nabc\r\n" + END), 400),
    "a chunk beyond all": Case(post(CHUNKED, body=b"f" * 20 + b"\r\nabc\r\n" + END), 400),
    "a chunk below 0": Case(post(CHUNKED, body=b"-1\r\nabc\r\n" + END), 400),
    "a chunk that is longer": Case(post(CHUNKED, body=b"3\r\nabcXX" + END), 400),
    "chunks with bare LF": Case(post(CHUNKED, body=b"3\nabc\n0\n\n"), 400, PASSES, LAXER),
    "a chunk with an extension": Case(post(CHUNKED, body=b"3;a=b\r\nabc\r\n" + END), PASSES),
    "an extension with bare LF": Case(
        *(post(CHUNKED, body=b"3;a\nxx\r\nabc\r\n" + END), 400, 0),
        "nginx waits for the rest of a chunk until the body's timeout",
    ),
    "trailers": Case(
        post(CHUNKED, body=b"3\r\nabc\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\n"), PASSES
    ),
    "a GET with a body": Case(get(b"/api/orders", THREE) + b"abc", PASSES),
    "a length with a space after it": Case(get(b"/api/orders", b"Content-Length: 0 "), PASSES),
    "a body that is awaited": Case(post(b"Expect: 100-continue", THREE), 100),
    "a large body": Case(post(b"Content-Length: 3000000", body=b"x" * 3_000_000), 413),
    "large chunks": Case(post(CHUNKED, body=b"2dc6c0\r\n" + b"x" * 3_000_000 + b"\r\n" + END), 413),
}

LINES = {
    "a plain one": Case(get(b"/api/orders"), PASSES),
    "bare LF": Case(b"GET /api/orders HTTP/1.1\nHost: shop\n\n", PASSES),
    "bare CR": Case(get(b"/api/orders", b"X: a\rTransfer-Encoding: chunked"), 400),
    "empty lines before": Case(b"\r\n\r\n" + get(b"/api/orders"), PASSES),
    "HTTP/1.0": Case(b"GET /api/orders HTTP/1.0\r\n" + HOST + b"\r\n", PASSES),
    "HTTP/1.0 without Host": Case(b"GET /api/orders HTTP/1.0\r\n\r\n", 400),
    "HTTP/0.9": Case(
        *(b"GET /api/orders\r\n", 400, 0),
        "an answer of HTTP/0.9 has no status; the body says that it is refused",
    ),
    "HTTP/1.2": Case(b"GET /api/orders HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2.0": Case(b"GET /api/orders HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "HTTP/2's preface": Case(
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 400),
        "nginx says why it closes the connection",
    ),
    "TLS": Case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "no Host": Case(b"GET /api/orders HTTP/1.1\r\n\r\n", 400),
    "two Hosts": Case(get(b"/api/orders", b"Host: other"), 400),
    "a list of Hosts": Case(b"GET /api/orders HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "a Host with a path": Case(b"GET /api/orders HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a Host with a user": Case(
        *(b"GET /api/orders HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, PASSES),
        "contexts refuse it: ALLOWED_HOSTS",
    ),
    "CONNECT": Case(
        *(get(b"shop:80", method=b"CONNECT"), 403, 400),
        "to nginx its target is none",
    ),
    "TRACE": Case(get(b"/api/orders", method=b"TRACE"), PASSES, 405, "contexts refuse it, too"),
    "a method in lower case": Case(get(b"/api/orders", method=b"get"), PASSES, 400, STRICTER),
    "a method with a NUL": Case(get(b"/api/orders", method=b"G\0T"), 400),
    "two spaces": Case(get(b" /api/orders"), 400, PASSES, LAXER),
    "a tab": Case(b"GET\t/api/orders HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a header without a colon": Case(get(b"/api/orders", b"X-A"), 400, PASSES, IGNORED),
    "a header without a name": Case(get(b"/api/orders", b": x"), 400),
    "a header that goes on": Case(get(b"/api/orders", b"X-A: a\r\n b"), 400),
    "a first header that goes on": Case(b"GET /api/orders HTTP/1.1\r\n Host: shop\r\n\r\n", 400),
    "a header with a NUL": Case(get(b"/api/orders", b"X: a\0b"), 400),
    "a header with a control": Case(get(b"/api/orders", b"X: a\x01b"), 400, PASSES, IGNORED),
    "a name with brackets": Case(get(b"/api/orders", b"X(Y): a"), 400, PASSES, IGNORED),
    "a header named by Connection": Case(
        *(get(b"/api/orders", b"Connection: X-Secret, authorization"), PASSES, 400),
        "nginx cannot drop a header by a name that a client chooses",
    ),
    "an upgrade": Case(get(b"/api/orders", b"Connection: Upgrade", b"Upgrade: h2c"), PASSES),
    "a long line": Case(get(b"/api/orders", b"X: " + b"x" * 20_000), PASSES, 431, SMALLER),
    "a long address": Case(get(b"/api/orders?" + b"x" * 20_000), PASSES, 414, SMALLER),
    "a longer address": Case(get(b"/api/orders?" + b"x" * 70_000), 414),
    "200 headers": Case(
        *(get(b"/api/orders", *(b"X-%d: x" % n for n in range(200))), 431, PASSES),
        "nginx bounds bytes, not headers, and contexts see only those that they know",
    ),
}

TARGETS = {
    "dots": Case(get(b"/api/orders/../x"), 404),
    "encoded dots": Case(get(b"/api/orders/%2e%2E/x"), 404),
    "one dot": Case(get(b"/api/orders/./x"), 404),
    "dots at the end": Case(get(b"/api/orders/.."), 404),
    "dots and encoded slashes": Case(get(b"/api/orders/..%2finternal%2fusers"), 404),
    "dots that lead inside": Case(get(b"/api/orders/../../internal/users"), 404),
    "dots from elsewhere": Case(get(b"/x/../internal/users"), 404),
    "dots after a fragment": Case(
        *(get(b"/api/orders#/../../internal"), PASSES, 404),
        "a fragment is no part of a request; the embedded server's parser drops it",
    ),
    "dots in a query": Case(get(b"/api/orders?next=/../x"), PASSES),
    "dots in a name": Case(get(b"/api/orders/a..b"), PASSES),
    "backslashes": Case(get(b"/api/orders\\..\\internal"), 404),
    "inside": Case(get(b"/internal/users"), 404),
    "inside, encoded": Case(get(b"/%69nternal%2fusers"), 404),
    "inside, two slashes": Case(get(b"//internal/users"), 404),
    "inside, absolute": Case(get(b"http://other/internal/users"), 404),
    "an error's own address": Case(get(b"/problem/400"), 404),
    "an absolute address": Case(get(b"http://other/api/orders"), PASSES),
    "a newline after a route": Case(get(b"/api/orders%0a"), 404),
    "a longer name than a route's": Case(get(b"/api/ordersX"), 404),
    "a parameter after a route": Case(get(b"/api/orders;x/1"), 404),
    "two slashes before a route": Case(get(b"//api/orders"), 404),
    "a route with encoded slashes": Case(get(b"/api%2Forders"), PASSES),
    "what the entry composes": Case(
        *(get(b"/api/orders/%s/summary" % ORDER), 401, 404),
        "here the entry behind nginx is one that answers 404 to all",
    ),
    "all": Case(get(b"*", method=b"OPTIONS"), 404, 400, STRICTER),
    "a space": Case(get(b"/api/orders/a b"), 400),
    "a control": Case(get(b"/api/orders/\x01"), 400),
    "a letter of Latin-1": Case(get(b"/api/orders/\xe9"), 400, PASSES, "the context refuses it"),
    "NUL": Case(get(b"/api/orders/%00"), PASSES, 400, STRICTER),
    "no encoding": Case(get(b"/api/orders/%zz"), PASSES, 400, STRICTER),
}

CASES = {**FRAMING, **LINES, **TARGETS}
