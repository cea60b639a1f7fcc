"""Who is let in where calls are served: by which key, at what time, and to which contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import jwt
import pytest
from django.conf import settings as shop
from django.core.management import call_command
from django.test import RequestFactory
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.api.address import GATEWAY, client_address
from severable.errors import from_error
from severable.rpc import identity
from severable.rpc.server.registry import registry
from severable.rpc.transcoding import rule
from tests.rpc.channels import Users, serving

REMOTE = pytest.mark.parametrize("channel", ["rest", "grpc"], indirect=True)
Code = grpc.StatusCode
DEPLOYMENTS = list(shop.TOPOLOGY.placements["split"])
CONTEXTS = shop.TOPOLOGY.contexts
OWNERS = {context.package: context.name for context in CONTEXTS.values() if context.package}
# Which deployments may call whom in the placement "split", and who reads feeds of events.
CALLERS = {name: {c.name for c in CONTEXTS.values() if name in c.calls} for name in CONTEXTS}
READERS = set(DEPLOYMENTS) - {"gateway"}


@pytest.fixture
def channel(request: pytest.FixtureRequest, users: Users) -> Iterator[grpc.Channel]:
    with serving(request.param) as channel:
        yield channel
        channel.close()


def code_of(channel: grpc.Channel, token: str, method: str = "/user.UserService/GetUser") -> Code:
    """What a call with a token ends with. INVALID_ARGUMENT and NOT_FOUND say that it came in."""
    found = rule(method)
    service, _, name = method[1:].rpartition("/")
    answer: type[Message] = _answers(service)[name]
    call: Any = channel.unary_unary(  # type: ignore[call-overload]
        method, found.request.SerializeToString, answer.FromString
    )
    try:
        call(found.request(), metadata=(("authorization", f"Bearer {token}"),), timeout=5)
    except grpc.RpcError as error:
        assert from_error(error) is None or error.code() not in (
            Code.UNAUTHENTICATED,
            Code.PERMISSION_DENIED,
        ), "a fault of the transport that looks like a domain error"
        return error.code()
    return Code.OK


def _answers(service: str) -> dict[str, Any]:
    methods = descriptor_pool.Default().FindServiceByName(service).methods
    return {m.name: message_factory.GetMessageClass(m.output_type) for m in methods}


def signed(key: str, ends_in: float = identity.LIFETIME, **claims: Any) -> str:
    """A token as another deployment would sign it, whose clock may be wrong."""
    ends = int(time.time() + ends_in)
    known = {"iss": "shop", "aud": identity.AUDIENCE, "exp": ends}
    return jwt.encode(known | claims, key, algorithm=identity.ALGORITHM)


NEW, OLD, OTHER = (letter * 40 for letter in "nox")
AHEAD_OR_BEHIND = 299  # seconds


@REMOTE
@pytest.mark.parametrize(
    ("key", "fallbacks"), [(NEW, [OLD]), (OLD, [NEW]), (OLD, [])], ids=["new", "old", "alone"]
)
def test_a_key_is_rotated_without_a_refused_call(
    channel: grpc.Channel,
    key: str,
    fallbacks: list[str],
    users: Users,
    settings: Any,
) -> None:
    """Deployments that are restarted one after the other refused each other's calls."""
    settings.SERVICE_KEY, settings.SERVICE_KEY_FALLBACKS = key, fallbacks
    for known in (key, *fallbacks):
        assert code_of(channel, signed(known)) is Code.OK
    for unknown in {NEW, OLD, OTHER} - {key, *fallbacks}:
        assert code_of(channel, signed(unknown)) is Code.UNAUTHENTICATED


def test_calls_are_signed_with_the_first_key(settings: Any) -> None:
    settings.SERVICE_KEY, settings.SERVICE_KEY_FALLBACKS = NEW, [OLD]
    own = dict(identity.auth_metadata())["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(own, NEW, algorithms=["HS256"], audience=identity.AUDIENCE)
    assert claims["iss"] == "shop"
    assert claims["exp"] - time.time() <= identity.LIFETIME


@REMOTE
@pytest.mark.parametrize("skew", [-AHEAD_OR_BEHIND, AHEAD_OR_BEHIND])
def test_clocks_may_differ_by_five_minutes(
    channel: grpc.Channel,
    skew: int,
    users: Users,
    settings: Any,
) -> None:
    """A machine whose clock is behind by a minute could call nobody."""
    # The least that a caller's token is good for by its own clock.
    token = signed(settings.SERVICE_KEY, identity.LIFETIME - identity.RENEWED + skew)
    assert code_of(channel, token) is Code.OK
    expired = signed(settings.SERVICE_KEY, -identity.LEEWAY - 2)
    assert code_of(channel, expired) is Code.UNAUTHENTICATED


def test_the_gateway_proves_itself_in_the_same_way(settings: Any) -> None:
    settings.SERVICE_KEY, settings.SERVICE_KEY_FALLBACKS = NEW, [OLD]

    def address(token: str) -> str:
        headers = {GATEWAY: token, "X-Forwarded-For": "192.0.2.7"}
        return client_address(RequestFactory().get("/", headers=headers))

    assert address(signed(NEW)) == address(signed(OLD, -AHEAD_OR_BEHIND)) == "192.0.2.7"
    assert address(signed(OTHER)) == address("") == "127.0.0.1"


METHODS = sorted(registry.methods)


@pytest.mark.django_db(transaction=True)
@REMOTE
@pytest.mark.parametrize("method", METHODS)
def test_a_token_opens_what_the_callers_contexts_may_call(
    channel: grpc.Channel, method: str, settings: Any
) -> None:
    """A service token of inventory, which calls nobody, debited store credit."""
    settings.PLACEMENT = "split"
    owner = OWNERS.get(method[1:].partition(".")[0])
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", owner or "users")
    for caller in [*DEPLOYMENTS, "shop", ""]:
        allowed = (CALLERS[owner] | {owner}) if owner else READERS
        code = code_of(channel, signed(settings.SERVICE_KEY, iss=caller), method)
        if caller in allowed:
            assert code not in (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED), caller
        else:
            assert code is Code.PERMISSION_DENIED, caller


@REMOTE
def test_a_token_for_calls_by_hand_opens_every_deployment(
    channel: grpc.Channel,
    users: Users,
    settings: Any,
    capsys: Any,
) -> None:
    """`manage.py service_token`, which is run in another placement than what it is for."""
    call_command("service_token")
    settings.PLACEMENT = "split"
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "users")
    assert code_of(channel, capsys.readouterr().out.strip()) is Code.OK


@REMOTE
def test_for_whom_is_believed_with_a_valid_token_only(
    channel: grpc.Channel,
    users: Users,
    settings: Any,
) -> None:
    called: list[Any] = []
    users.behaviour = lambda request, context: called.append(request)
    metadata = (("authorization", f"Bearer {signed(OTHER)}"), ("x-actor", "user-1"))
    with pytest.raises(grpc.RpcError):
        UserServiceStub(channel).GetUser(pb.GetUserRequest(user_id=1), metadata=metadata)
    assert called == []
