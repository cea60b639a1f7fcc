"""The internal API in a browser: every method, for everybody who has no service token."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import get_resolver

from apps.users.models import User
from severable.rpc.server.registry import registry
from severable.rpc.transcoding import VARIABLE, Rule, rule
from tests.api.routes import patterns
from tests.conftest import ClientFor, MakeUser

pytestmark = pytest.mark.django_db

WHO = ("anonymous", "customer", "flag", "permissions", "superuser", "token")


def served() -> list[str]:
    return [path for path, _ in patterns(get_resolver().url_patterns) if "internal/" in path]


@pytest.fixture
def browsers(make_user: MakeUser, client_for: ClientFor) -> dict[str, Any]:
    """Browsers of a customer, of staff without and with all permissions, and of a superuser."""
    browsers: dict[str, Any] = {"anonymous": Client(), "token": Client()}
    for who in ("customer", "flag", "permissions", "superuser"):
        user = make_user(who)
        user.is_staff, user.is_superuser = who != "customer", who == "superuser"
        user.granted = settings.TOPOLOGY.permissions if who == "permissions" else []
        user.save()
        if who == "permissions":
            user.user_permissions.set(Permission.objects.all())
        browsers[who] = Client()
        browsers[who].force_login(user)
    token = client_for(User.objects.get(username="superuser"))._credentials["HTTP_AUTHORIZATION"]
    browsers["token"] = Client(headers={"Authorization": token})
    return browsers


def some(found: Rule, name: str) -> str:
    """A value of a request's field that is in the path: a number, a context, or a UUID."""
    if name == "source":
        return next(iter(settings.TOPOLOGY.contexts))
    field = found.request.DESCRIPTOR.fields_by_name[name]
    return "1" if field.cpp_type != field.CPPTYPE_STRING else str(UUID(int=1))


def test_every_internal_address_is_of_a_method() -> None:
    """An internal view that is no method of a contract, and is tried by nothing here."""
    assert set(served()) == {rf"^{rule(method).pattern}\Z" for method in registry.methods}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("method", registry.methods)
def test_only_superusers_browse_and_only_to_look(
    method: str, who: str, browsers: dict[str, Any]
) -> None:
    """The staff flag alone read every user's name, e-mail and address."""
    found = rule(method)
    path = VARIABLE.sub(lambda variable: some(found, variable[1]), found.template)
    answer = browsers[who].generic(
        found.verb, path, json.dumps({}), content_type="application/json"
    )
    if who == "superuser" and found.verb == "GET":
        assert answer.status_code in (200, 404)
    else:
        assert answer.status_code in (401, 403)
