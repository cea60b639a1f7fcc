"""The structure is a promise, and this is its test: no exceptions, no list of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions
from importlinter import cli

from apps.users.models import Session
from shop import topology
from shop.policies import TopologyError
from tests import walls
from tests.processes import ROOT

CONTEXTS = sorted(settings.TOPOLOGY.contexts)
PACKAGES = {c.package: c.name for c in settings.TOPOLOGY.contexts.values() if c.package}
IDEMPOTENT = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in file.parts and "_pb2" not in file.name:
                yield file


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Every (module, name) that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def test_imports_keep_the_walls() -> None:
    assert cli.lint_imports() == 0


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_foreign_key_leaves_a_context(context: str) -> None:
    for model in apps.get_app_config(context).get_models(include_auto_created=True):
        for field in model._meta.get_fields():
            other = field.related_model._meta.app_label if field.is_relation else context
            assert other == context or other not in CONTEXTS, f"{model.__name__}.{field.name}"


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


TOPOLOGY = """
[contexts.a]
package = "a"
calls = {a}
[contexts.b]
calls = {b}
[calls]
timeout = 1
retries = 0
retry_budget = 0.2
concurrency = 1
breaker_failures = 1
breaker_seconds = 1
[placements.one.all]
contexts = {placed}
http = "127.0.0.1:1"
grpc = "127.0.0.1:2"
"""


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"a": ["b"], "b": ["a"], "placed": ["a", "b"]}, "in a circle"),
        ({"a": ["c"], "b": [], "placed": ["a", "b"]}, "contexts.a.calls: no context 'c'"),
        ({"a": [], "b": [], "placed": ["a"]}, "context 'b' is placed 0 times"),
        ({"a": [], "b": [], "placed": ["a", "b", "b"]}, "context 'b' is placed 2 times"),
        ({"a": [], "b": [], "placed": ["a", "b", "x"]}, "no context 'x'"),
    ],
)
def test_a_topology_that_cannot_work_is_refused(
    tmp_path: Path, entries: dict[str, list[str]], complaint: str
) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY.format(**{key: str(value) for key, value in entries.items()}))
    with pytest.raises(TopologyError, match=complaint):
        topology.load(file)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("timeout = 1", "timeout = 0", r"calls\.timeout: 0 is not a number from 0.001"),
        ("timeout = 1", "timeout = true", r"calls\.timeout: True is not a number"),
        ("retries = 0", "retries = 1.5", r"calls\.retries: 1\.5 is not a whole number"),
        ("retry_budget = 0.2", "retry_budget = 20", r"calls\.retry_budget: 20 is not"),
        ("concurrency = 1", 'concurrency = "all"', r"calls\.concurrency: 'all' is not"),
        ("concurrency = 1", "concurency = 1", "calls: unknown key 'concurency'"),
        ("[placements.one.all]", "[calls.b]\ntimeout = 2\n[placements.one.all]", "2 s is longer"),
        ("[placements.one.all]", "[faults.c]\n[placements.one.all]", "faults.c: no context 'c'"),
        (
            "[placements.one.all]",
            "[faults.b]\nabort = 'OK'\n[placements.one.all]",
            r"faults\.b\.abort: 'OK'; there is: UNAVAILABLE",
        ),
        (
            "[placements.one.all]",
            "[faults.b]\ndelay_percent = 101\n[placements.one.all]",
            r"faults\.b\.delay_percent: 101 is not a number from 0 to 100",
        ),
        ("[contexts.a]", "[contexts.a", "topology.toml: .*line"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_by_its_name(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    """Among them: a call that may take longer than its caller has."""
    file = tmp_path / "topology.toml"
    good = TOPOLOGY.format(a=["b"], b=[], placed=["a", "b"])
    file.write_text(good)
    topology.load(file)
    file.write_text(good.replace(old, new, 1))
    with pytest.raises(TopologyError, match=complaint):
        topology.load(file)
