"""The structure is a promise, and this is its test: no exceptions, no list of them."""

from __future__ import annotations

import ast
from importlib import import_module

import pytest
from django.conf import settings
from django.db import models
from django.db.migrations.loader import MigrationLoader
from django.test.utils import isolate_apps
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions
from importlinter import cli

from apps.orders.models import Order
from apps.users.models import Session, User
from severable import checks
from tests import walls
from tests.processes import ROOT
from tests.sources import imported, sources

CONTEXTS = sorted(settings.TOPOLOGY.contexts)
PACKAGES = {c.package: c.name for c in settings.TOPOLOGY.contexts.values() if c.package}
IDEMPOTENT = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def test_imports_keep_the_walls() -> None:
    assert cli.lint_imports() == 0


def test_a_foreign_key_to_another_context_is_refused() -> None:
    with isolate_apps("apps.orders", "apps.users"):

        class Note(models.Model):
            order = models.ForeignKey(Order, models.CASCADE, related_name="+")
            user = models.ForeignKey(User, models.CASCADE, related_name="+")

            class Meta:
                app_label = "orders"

            def __str__(self) -> str:
                return ""

    [error] = checks.crossing([Note])
    assert error.msg == "Note.user leads from the context orders to users"


def test_a_service_without_a_servicer_is_refused() -> None:
    [error] = checks.unserved(["user", "order"], ["user.UserService"])
    assert error.msg == "order.OrderService is in the contract, and no servicer serves it"
    assert "add_OrderServiceServicer_to_server" in str(error.hint)


def test_every_context_can_be_separated_and_serves_its_contract() -> None:
    assert checks.separable() == checks.served() == []


def test_no_migration_depends_on_another_contexts() -> None:
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        needed = {dependency[0] for dependency in migration.dependencies} & set(CONTEXTS)
        ours = migration.__module__.startswith(("apps.", "shop."))
        assert not ours or needed <= {app}, f"{app}.{name}"


def test_no_sql_crosses_a_wall_unseen() -> None:
    """The check of every statement would be worthless if it knew no tables."""
    assert walls.contexts_in('SELECT * FROM "users_user" JOIN "orders_order"') == {
        "users",
        "orders",
    }


@pytest.mark.django_db
def test_a_compare_and_set_that_joins_is_seen() -> None:
    """PostgreSQL would let two win: two people had the session of one refresh token."""
    with pytest.raises(walls.NothingCompared):
        Session.objects.filter(user__is_active=True).update(ended_at=None)


@pytest.mark.parametrize("context", CONTEXTS)
def test_contexts_call_only_whom_the_topology_lets_them(context: str) -> None:
    called = {
        PACKAGES[module.removeprefix("protos.").removesuffix("_pb2_grpc")]
        for file in sources(f"apps/{context}")
        for module, name in imported(file)
        if module.startswith("protos.") and name.endswith("Stub")
    }
    assert called == set(settings.TOPOLOGY.contexts[context].calls)


def test_every_file_says_what_it_is_for() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in sources("apps", "shop", "tests", "protos")
        if file.stat().st_size and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_no_room_outgrows_its_reader() -> None:
    large = {str(file): len(file.read_text().splitlines()) for file in sources("apps", "shop")}
    assert {file: lines for file, lines in large.items() if lines > 330} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_method_may_be_repeated(package: str) -> None:
    """A caller that does not hear the answer asks again: each method must say that it may."""
    file = import_module(f"protos.{package}_pb2").DESCRIPTOR
    for service in file.services_by_name.values():
        for method in service.methods:
            assert method.GetOptions().idempotency_level in IDEMPOTENT, method.full_name


def test_user_proto_stays_compatible_on_the_wire() -> None:
    """Clients that were generated from the first contract still work."""
    file = FileDescriptorProto()
    import_module("protos.user_pb2").DESCRIPTOR.CopyToProto(file)
    messages = {
        message.name: {(f.number, f.name, f.type, f.proto3_optional) for f in message.field}
        for message in file.message_type
    }
    int32, string = 5, 9
    first = {
        "GetUserRequest": {(1, "user_id", int32, False)},
        "CreateUserRequest": {
            (1, "name", string, False),
            (2, "email", string, False),
            (3, "address", string, False),
        },
        "UpdateUserRequest": {
            (1, "user_id", int32, False),
            (2, "name", string, True),
            (3, "email", string, True),
            (4, "address", string, True),
        },
        "UserResponse": {
            (1, "id", int32, False),
            (2, "name", string, False),
            (3, "email", string, False),
            (4, "address", string, False),
        },
    }
    methods = {m.name: (m.input_type, m.output_type) for m in file.service[0].method}
    assert file.package == "user"
    assert all(fields <= messages[name] for name, fields in first.items())
    assert file.service[0].name == "UserService"
    for name in ("GetUser", "CreateUser", "UpdateUser"):
        assert methods[name] == (f".user.{name}Request", ".user.UserResponse")
