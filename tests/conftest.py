"""What tests start from: people, products, and clients that speak for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from rest_framework.test import APIClient

from apps.inventory import services as inventory
from apps.inventory.models import Product
from apps.users import services as users
from apps.users.models import User
from severable.api.auth import AccessToken
from severable.config import jwk
from tests import walls  # noqa: F401  # from here on, every statement is checked
from tests.chaos.running import Shop
from tests.production import PRODUCTION

MakeUser = Callable[..., User]
MakeProduct = Callable[..., Product]
ClientFor = Callable[[User], APIClient]


def _flushed(style: Any, connection: Any, **options: Any) -> list[str]:
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    kept = {ContentType._meta.db_table, Permission._meta.db_table}
    statements: list[str] = connection.ops.sql_flush(
        style, [name for name in names if name not in kept], **options
    )
    return statements


@pytest.fixture(scope="session", autouse=True)
def permissions_stay() -> Iterator[None]:
    """Django deletes permissions after each test that commits, and makes the same ones anew: that
    takes longer than most of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", _flushed)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def mail_under_tmp(tmp_path: Any, settings: Any) -> None:
    settings.MAIL_DIR = tmp_path / "mail"


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Any, settings: Any) -> None:
    """No test finds what another, or another run, has left in the cache."""
    own = (
        {"LOCATION": tmp_path / "cache"} if not settings.CACHE_URL else {"KEY_PREFIX": uuid4().hex}
    )
    settings.CACHES = {"default": {**settings.CACHES["default"], **own}}


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """The environment of a shop in production."""
    static = tmp_path / "static"
    static.mkdir()
    (static / "site.css").touch()
    keys = {"JWT_PRIVATE_KEY": jwk.new_private_key()}
    return PRODUCTION | keys | {"VAR_DIR": str(tmp_path), "STATIC_ROOT": str(static)}


@pytest.fixture
def make_user(db: None) -> MakeUser:
    """make_user("alice", credit=500, granted=["orders:ship"])"""

    def make(username: str = "alice", *, credit: int = 0, granted: Any = ()) -> User:
        user = users.register(
            registration=uuid4(),
            username=username,
            password="correct horse battery",
            name=username.title(),
            email=f"{username}@example.com",
            address="1 Market Street",
            email_confirmed=True,
        )
        if credit:
            users.change_credit(key=str(uuid4()), user_id=user.id, amount=credit, reason="test")
        User.objects.filter(id=user.id).update(granted=list(granted))
        user.refresh_from_db()
        return user

    return make


@pytest.fixture
def alice(make_user: MakeUser) -> User:
    return make_user("alice")


@pytest.fixture
def bob(make_user: MakeUser) -> User:
    return make_user("bob")


@pytest.fixture
def staff(make_user: MakeUser) -> User:
    return make_user("staff", granted=settings.TOPOLOGY.permissions)


@pytest.fixture
def make_product(db: None) -> MakeProduct:
    """make_product("MUG", price=900, available=10)"""

    def make(sku: str = "MUG", *, price: int = 900, available: int = 10) -> Product:
        return inventory.add_product(
            sku=sku,
            name=sku.title(),
            description="",
            unit_price=price,
            currency="EUR",
            available=available,
        )

    return make


@pytest.fixture
def mug(make_product: MakeProduct) -> Product:
    return make_product("MUG")


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


@pytest.fixture
def client_for() -> ClientFor:
    """A client whose requests carry a user's access token."""

    def make(user: User) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_of(user)}")
        return client

    return make


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A whole shop, running in processes of its own."""
    running = Shop(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.close()


def token_of(user: User) -> str:
    token = AccessToken()
    token["sub"] = str(user.id)
    token["username"] = user.username
    token["permissions"] = user.permissions
    token["staff"] = user.is_staff
    return str(token)
