"""Clients of all kinds, and what they ask for."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from apps.users.models import User
from tests import samples
from tests.api.matrix import WHO
from tests.conftest import ClientFor


@pytest.fixture
def clients(alice: User, bob: User, staff: User, client_for: ClientFor) -> dict[str, APIClient]:
    """One for each of WHO; alice is the owner."""
    clients = [APIClient(), client_for(bob), client_for(alice), client_for(staff)]
    return dict(zip(WHO, clients, strict=True))


@pytest.fixture
def places(alice: User) -> samples.Objects:
    """What belongs to alice: {"order_id": "…"} and so on."""
    return samples.Objects(alice)
