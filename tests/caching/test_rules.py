"""What topology.toml may say of cached responses, and where they are cached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from severable import topology
from severable.caching import reads as cached
from severable.events import handlers
from severable.events.queues import context_queues
from severable.topology import TopologyError
from tests.caching.clients import (
    ENTRY,
)
from tests.processes import ROOT


@pytest.mark.parametrize(
    ("placement", "deployment", "kept"),
    [
        ("one", "shop", set()),
        ("split", "orders", {"user.UserService/GetUser"}),
        ("split", "users", set()),  # it is its own
        ("split", "inventory", set()),  # calls nobody
        ("split", "gateway", set()),  # hears no events
    ],
)
def test_a_deployment_keeps_what_it_asks_others_and_hears_the_end_of(
    settings: Any, placement: str, deployment: str, kept: set[str]
) -> None:
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment(placement, deployment)
    assert {rule.entry.method for rule in cached.rules_here()} == kept


def test_without_a_cache_that_all_processes_share_nothing_is_kept(settings: Any) -> None:
    """What one machine ends, another would go on believing."""
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "orders")
    settings.CACHE_IS_SHARED = False
    assert cached.rules_here() == []


def test_the_queue_of_such_a_deployment_is_bound_to_what_ends_its_answers(settings: Any) -> None:
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "notifications")
    with handlers.overridden():
        cached.subscribe()
        (queue,) = context_queues(settings.DEPLOYMENT.queues, {})
    assert {"user.UserUpdated", "user.AccessChanged"} <= {
        bound.routing_key for bound in queue.bindings
    }


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"method": "user.UserService/Nope"}, "Nope.: no contract has this method"),
        ({"method": "user.UserService/UpdateUser"}, "UpdateUser.: .* has side effects"),
        ({"key": "name"}, "key: user.GetUserRequest has no single 'name'"),
        ({"invalidated_by": ("user.Nope",)}, "invalidated_by: no contract has the event user.Nope"),
        (
            {"invalidated_by": ("user.UserResponse",)},
            "key: user.UserResponse has no single 'user_id'",
        ),
    ],
)
def test_what_no_contract_bears_out_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TopologyError, match=complaint):
        cached.rules([replace(ENTRY, **changes)])


@pytest.mark.parametrize(
    ("line", "by", "complaint"),
    [
        ("seconds = 600", "seconds = 0", r"GetUser.\.seconds: 0: input should be greater"),
        (
            "seconds = 600",
            'seconds = "10"',
            r"GetUser.\.seconds: '10': input should be a valid number",
        ),
        ("seconds = 600", "minutes = 10", r"GetUser.\.minutes: unknown key"),
        ("seconds = 600", "", r"GetUser.\.seconds: is missing"),
        (
            '["UserUpdated", "EmailConfirmed", "AccessChanged"]',
            "[]",
            r"GetUser.\.invalidated_by: \[\]: .* at least 1 item",
        ),
        ("user.UserService/GetUser", "cat.Cats/Get", "cat.Cats/Get.: no context has this method"),
        ("user.UserService/GetUser", "user.GetUser", "user.GetUser.: no context has this method"),
    ],
)
def test_an_entry_that_cannot_work_is_named(
    tmp_path: Path, line: str, by: str, complaint: str
) -> None:
    text = (ROOT / "topology.toml").read_text()
    assert line in text
    (tmp_path / "topology.toml").write_text(text.replace(line, by, 1))
    with pytest.raises(TopologyError, match=complaint):
        topology.load(tmp_path / "topology.toml")
