"""What the generic tests need to know of users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from apps.users.models import CreditEntry, Preferences, Session, User
from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from tests.samples import OWN, OWNER, OWNER_AND_STAFF, PUBLIC, STAFF, Call, Known, Route

SIGN_IN = {"username": "alice", "password": "correct horse battery"}
CAROL = SIGN_IN | {"username": "carol", "name": "Carol", "email": "carol@example.com"}
REFRESH = {"refresh": "garbage"}
ONE = "/api/users/<int:user_id>"

ROUTES = {
    ("GET", "/.well-known/jwks.json"): Route(PUBLIC),
    ("POST", "/api/auth/token"): Route(PUBLIC, SIGN_IN, keyless=True, documented={200, 400, 401}),
    ("POST", "/api/auth/token/refresh"): Route((401, 401, 401, 401), REFRESH, keyless=True),
    ("POST", "/api/auth/logout"): Route((401, 401, 401, 401), REFRESH, keyless=True),
    ("POST", "/api/users"): Route((201, 201, 201, 201), CAROL),
    ("GET", "/api/users/me"): Route(OWN),
    ("POST", "/api/users/me/email-confirmation"): Route((401, 409, 409, 409)),
    ("POST", "/api/users/confirm-email"): Route(
        (422, 422, 422, 422), {"token": "garbage"}, keyless=True
    ),
    ("GET", ONE): Route(OWNER_AND_STAFF, granted={"users:credit": 200}),
    ("PATCH", ONE): Route(OWNER, {"name": "Al"}),
    ("GET", f"{ONE}/preferences"): Route(OWNER),
    ("PUT", f"{ONE}/preferences"): Route(OWNER, {"order_mails": False, "account_mails": False}),
    ("PATCH", f"{ONE}/credit"): Route(
        STAFF, {"amount": 1}, granted={"users:credit": 200}, documented={200, 402, 403, 404}
    ),
}
EDITABLE = {User: {"change"}, Preferences: {"change"}}  # none is added: Django wants "change", too
ADMIN_VIEWS = ["users/user/<id>/password/"]
HIDDEN = {
    User: ["password__startswith"],
    Session: ["user__password__startswith", "token_id__startswith"],
    CreditEntry: ["user__email__startswith"],
}
WORDS = ["alice"]


PARAMETERS = {"user_id": lambda owner, known: str(owner.id)}


def calls(user: User, known: Known) -> Iterator[Call]:
    def call(name: str, request: Any) -> Call:
        return UserServiceStub, name, request

    paid = str(uuid4())
    yield call("CreateUser", pb.CreateUserRequest(name="Dora", email="dora@example.com"))
    yield call("GetUser", pb.GetUserRequest(user_id=user.id))
    yield call("UpdateUser", pb.UpdateUserRequest(user_id=user.id, name="Al"))
    yield call("GetPreferences", pb.GetPreferencesRequest(user_id=user.id))
    yield call("CreateEmailConfirmation", pb.CreateEmailConfirmationRequest(user_id=user.id))
    yield call("DebitCredit", pb.DebitCreditRequest(payment_id=paid, user_id=user.id, amount=7))
    yield call("ReturnCredit", pb.ReturnCreditRequest(payment_id=paid, user_id=user.id))
