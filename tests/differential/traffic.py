"""A seeded stream of requests to the public API: sessions, state, and every kind of bad input.

Requests are symbolic: "{order:3}" stands for the id that the third order attempt got in the shop
that the request is sent to, so that the same stream can be sent to several shops.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

CUSTOMERS = ("alice", "bob", "carol", "dave")
SESSIONS = (*CUSTOMERS, "admin", None)
PASSWORDS = {"alice": "demo", "bob": "demo", "admin": "admin"}
REGISTERED = "correct horse battery"
SKUS = ("MUG-OAK", "BOWL-ASH", "CLOCK-OAK", "LAMP-CLAY", "NOPE")
TOKENS = ("tok_visa", "tok_visa", "tok_visa", "tok_declined", "tok_nonsense", "tok_unknown")
ODD_VALUES: tuple[Any, ...] = (
    "", "\0", "\ud800", "x" * 300, "%", "\u202e", 0, -1, 2**31, 2**63, 10**30, 1.5, 1e308,
    True, None, [], {}, [[]], {"": None},
)  # fmt: skip
ODD_BODIES = (
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"a":', b"[" * 5000, b'{"items": NaN}',
    b'{"payment": {"method": "card", "token": "\\ud800"}, "items": [{"sku": "A", "quantity": 1}]}',
)  # fmt: skip
ODD_HEADERS = (
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json; charset=zip"},
    {"Content-Type": "multipart/form-data"},
    {"Accept": "text/plain"},
    {"Accept": "application/xml"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer a.b.c"},
    {"Authorization": "Basic YTpi"},
    {"Idempotency-Key": ""},
    {"Idempotency-Key": "k" * 256},
    {"Prefer": "wait=99999, respond-async"},
    {"Prefer": ",,;="},
    {"X-Request-ID": "short"},
    {"X-Forwarded-For": "1.2.3.4"},
    {"X-User-Id": "1"},
    {"Range": "bytes=0-10"},
    {"If-None-Match": "*"},
    {"Origin": "https://elsewhere.example"},
    {"Cookie": "sessionid=planted; csrftoken=planted"},
)
ODD_PATHS = (
    "/api/nowhere", "/api", "/api/", "/api/orders/", "/api/orders/1", "/api/orders/%00",
    "/api/users/0", "/api/users/99999999999999999999", "/api/users/-1", "/api/users/me/",
    "/api/inventory/products/", "/api/inventory/products/N%C3%96%2FPE", "/api/payments/x",
    "/api//orders", "/api/orders/../users/me", "/internal/users/1", "/.well-known/nothing",
)  # fmt: skip
ODD_QUERIES = (
    "?x=%", "?x=%25", "?%", "?page=0", "?page=-1", "?page=9999999999999999999", "?page_size=0",
    "?page_size=1000000", "?cursor=zzzz", "?cursor=%00", "?status=none",
    "?search=%00", "?search=%F0",
    "?ordering=password", "?min_price=1e999", "?currency=EURO", "?kind=x&kind=y", "?format=xml",
)  # fmt: skip
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
RENEW_SESSIONS = 200  # requests: long before an access token ends


@dataclass
class Request:
    """One request, with names in braces in the place of a shop's own ids."""

    method: str
    path: str
    session: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    chunked: bool = False
    captures: dict[str, str] = field(default_factory=dict)  # a name: the field of the answer
    signs_in: str | None = None
    unordered: bool = False  # the results of the list may come in any order

    def __str__(self) -> str:
        body = (self.body or b"")[:300].decode(errors="replace")
        return f"{self.method} {self.path} as {self.session} {self.headers} {body}"


class Traffic:
    """The requests of one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._orders = self._refreshed = 0

    def opening(self) -> list[Request]:
        """Two customers register, all sign in, and one does not wait for a slow card."""
        registrations = [
            self._send("POST", "/api/users", None, registration(name), {f"user:{name}": "id"})
            for name in CUSTOMERS
            if name not in PASSWORDS
        ]
        return [*registrations, *self.sign_ins(), self._slow()]

    def sign_ins(self) -> list[Request]:
        """All sessions begin anew."""
        return [sign_in(name) for name in SESSIONS if name]

    def next(self) -> Request:
        """The next request: an ordinary one, or one with something odd about it."""
        kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        request: Request = getattr(self, f"_{kind}")()
        if self._random.random() < 0.15:
            self._make_odd(request)
        return request

    def _place(self) -> Request:
        self._orders += 1
        body = {"items": self._items(), "payment": self._payment()}
        headers = self._maybe_key()
        if self._random.random() < 0.2:
            headers["Prefer"] = "respond-async"
        session, path = self._customer(), "/api/orders"
        if self._random.random() < 0.1:
            session, path = self._anyone(), "/api/admin/orders"
            body["user_id"] = self._random.choice([1, 2, 3, 99999, "2", None])
        request = self._send("POST", path, session, body)
        request.headers |= headers
        request.captures = {f"order:{self._orders}": "id", f"payment:{self._orders}": "payment_id"}
        return request

    def _slow(self) -> Request:
        payment = {"method": "card", "token": "tok_slow"}
        body = {"items": [{"sku": "MUG-OAK", "quantity": 1}], "payment": payment}
        request = self._send("POST", "/api/orders", "alice", body)
        request.headers["Prefer"] = "wait=1"
        return request

    def _order(self) -> Request:
        view = self._random.choice(["", "", "/summary", "/timeline"])
        return self._send("GET", f"/api/orders/{self._known('order')}{view}", self._anyone())

    def _orders_list(self) -> Request:
        query = self._random.choice(
            ["", "?page_size=2", "?status=paid", "?status=rejected&page_size=1"]
        )
        return self._send("GET", f"/api/orders{query}", self._anyone())

    def _decide(self) -> Request:
        act = self._random.choice(["cancel", "ship"])
        session = "admin" if act == "ship" else self._anyone()
        request = self._send("POST", f"/api/orders/{self._known('order')}/{act}", session)
        request.headers |= self._maybe_key()
        return request

    def _payments(self) -> Request:
        path = f"/api/payments/{self._known('payment')}"
        if self._random.random() < 0.4:
            return self._send("POST", f"{path}/refund", self._random.choice(["admin", "alice"]))
        return self._send("GET", path, self._anyone())

    def _products(self) -> Request:
        path = "/api/inventory/products"
        choices = [
            path,
            f"{path}?search=oak&ordering=-unit_price&page_size=3",
            f"{path}?in_stock=true&max_price=1500&page=2",
            f"{path}?min_price=5000&ordering=name,-sku",
            *(f"{path}/{sku}" for sku in SKUS),
        ]
        return self._send("GET", self._random.choice(choices), self._anyone())

    def _check(self) -> Request:
        return self._send("POST", "/api/inventory/check", self._anyone(), {"items": self._items()})

    def _restock(self) -> Request:
        path = f"/api/inventory/products/{self._random.choice(SKUS)}/restock"
        quantity = self._random.choice([1, 5, 0, "many", 10**7])
        request = self._send(
            "POST", path, self._random.choice(["admin", "bob"]), {"quantity": quantity}
        )
        request.headers |= self._maybe_key()
        return request

    def _profile(self) -> Request:
        session = self._anyone()
        path = self._random.choice(["/api/users/me", *(self._user_path() for _ in range(3))])
        if path.endswith("/me") or self._random.random() < 0.4:
            return self._send("GET", path, session)
        changes = {
            "address": f"{self._random.randrange(100)} Market Street",
            "name": self._random.choice(["Alice Archer", "A\nB", "", "Änne"]),
            "email": self._random.choice(["alice@example.com", "bob@example.com", "no", "N@X.ORG"]),
        }
        kept = self._random.sample(list(changes), self._random.randrange(3))
        return self._send("PATCH", path, session, {name: changes[name] for name in kept})

    def _preferences(self) -> Request:
        path = f"{self._user_path()}/preferences"
        if self._random.random() < 0.5:
            return self._send("GET", path, self._anyone())
        wanted = self._random.choice([True, False, "maybe"])
        body = {"order_mails": wanted, "account_mails": True}
        return self._send("PUT", path, self._anyone(), body)

    def _credit(self) -> Request:
        session = self._random.choice(["admin", "admin", "alice"])
        body = {"amount": self._random.choice([1000, -500, 0, -(10**9), "x"])}
        request = self._send("PATCH", f"{self._user_path()}/credit", session, body)
        request.headers |= self._maybe_key()
        return request

    def _notifications(self) -> Request:
        order = self._known("order")
        query = self._random.choice(["order_id=x", f"order_id={order}", f"order_id={order}"])
        request = self._send("GET", f"/api/notifications?{query}", self._customer())
        request.unordered = True  # mails of one order are written at the same time
        return request

    def _sign_in(self) -> Request:
        name = self._random.choice([*CUSTOMERS, "admin", "nobody"])
        if self._random.random() < 0.5 and name != "nobody":
            return sign_in(name)
        body = {"username": name, "password": "wrong"}
        return self._send("POST", "/api/auth/token", None, body)

    def _refresh(self) -> Request:
        name = self._random.choice(CUSTOMERS)
        path = self._random.choice(["/api/auth/token/refresh", "/api/auth/logout"])
        refresh = self._random.choice([f"{{refresh:{name}}}", f"{{access:{name}}}", "a.b.c"])
        return self._send("POST", path, None, {"refresh": refresh})

    def _register(self) -> Request:
        name = self._random.choice(["carol", "erin", "e\nrin", ""])
        body = registration(name) | self._random.choice([{}, {"password": "short"}, {"email": "x"}])
        request = self._send("POST", "/api/users", self._random.choice([None, "alice"]), body)
        request.headers |= self._maybe_key()
        return request

    def _lost(self) -> Request:
        method = self._random.choice(METHODS)
        path = self._random.choice(ODD_PATHS)
        return self._send(method, path, self._anyone(), {} if method in ("POST", "PUT") else None)

    def _public(self) -> Request:
        path = self._random.choice(["/.well-known/jwks.json", "/health/live"])
        return self._send("GET", path, self._anyone())

    def _make_odd(self, request: Request) -> None:
        odd = self._random.choice(
            ["body", "field", "header", "query", "method", "slash", "chunked"]
        )
        if odd == "body":
            request.body = self._random.choice(ODD_BODIES)
        elif odd == "field" and request.body:
            self._spoil_field(request)
        elif odd == "header":
            request.headers |= self._random.choice(ODD_HEADERS)
        elif odd == "query":
            request.path = request.path.partition("?")[0] + self._random.choice(ODD_QUERIES)
        elif odd == "method":
            request.method = self._random.choice(METHODS)
        elif odd == "slash":
            request.path += "/"
        elif request.body:
            request.chunked = True

    def _spoil_field(self, request: Request) -> None:
        body = json.loads(request.body or b"{}")
        if not (isinstance(body, dict) and body):
            return
        target, name = body, self._random.choice(list(body))
        if isinstance(body[name], dict) and body[name] and self._random.random() < 0.5:
            target, name = body[name], self._random.choice(list(body[name]))
        if self._random.random() < 0.3:
            del target[name]
        else:
            target[name] = self._random.choice(ODD_VALUES)
        request.body = json.dumps(body).encode()

    def _send(
        self,
        method: str,
        path: str,
        session: str | None,
        body: Any = None,
        captures: dict[str, str] | None = None,
    ) -> Request:
        encoded = None if body is None else json.dumps(body).encode()
        return Request(method, path, session, body=encoded, captures=captures or {})

    def _items(self) -> list[dict[str, Any]]:
        chosen = self._random.choices(SKUS[:4], k=self._random.choice([1, 1, 1, 2, 3]))
        if self._random.random() < 0.1:
            chosen.append(SKUS[-1])
        quantities = [1, 1, 2, 3, 3, 500, 0, "2"]
        return [{"sku": sku, "quantity": self._random.choice(quantities)} for sku in chosen]

    def _payment(self) -> dict[str, str]:
        if self._random.random() < 0.3:
            return {"method": "credit"}
        return {"method": "card", "token": self._random.choice(TOKENS)}

    def _maybe_key(self) -> dict[str, str]:
        if self._random.random() < 0.5:
            return {}
        return {"Idempotency-Key": f"key-{self._random.randrange(max(20, self._orders))}"}

    def _known(self, kind: str) -> str:
        return f"{{{kind}:{self._random.randint(max(1, self._orders - 15), self._orders + 1)}}}"

    def _user_path(self) -> str:
        return f"/api/users/{self._random.choice([1, 2, 3, 2, 3, '{user:carol}', 4711])}"

    def _customer(self) -> str:
        return self._random.choice(CUSTOMERS)

    def _anyone(self) -> str | None:
        return self._random.choice([*CUSTOMERS, "alice", "admin", "admin", None])


# How often each kind of request comes, as weights.
KINDS = {
    "place": 26,
    "order": 14,
    "orders_list": 5,
    "decide": 9,
    "payments": 8,
    "products": 8,
    "check": 3,
    "restock": 4,
    "profile": 8,
    "preferences": 5,
    "credit": 4,
    "notifications": 5,
    "sign_in": 4,
    "refresh": 4,
    "register": 3,
    "lost": 5,
    "public": 2,
}


def registration(name: str) -> dict[str, str]:
    """What a person gives who registers."""
    return {
        "username": name,
        "password": REGISTERED,
        "name": name.title(),
        "email": f"{name}@example.com",
        "address": "1 Market Street",
    }


def sign_in(name: str) -> Request:
    """The request that begins a session."""
    body = {"username": name, "password": PASSWORDS.get(name, REGISTERED)}
    encoded = json.dumps(body).encode()
    return Request("POST", "/api/auth/token", body=encoded, signs_in=name)
