"""Every route, for everybody: what the samples say, and no more."""

from __future__ import annotations

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from apps.users.models import User
from tests.api.matrix import MATRIX, READS, WHO, Key, as_another, ask, check_complete, check_key
from tests.api.routes import at, served
from tests.conftest import ClientFor
from tests.samples import Known

pytestmark = pytest.mark.django_db

PERMISSIONS = settings.TOPOLOGY.permissions
each_route = pytest.mark.parametrize("key", MATRIX, ids=" ".join)


def test_every_route_has_a_sample() -> None:
    """A route that is open to everybody because no test knows it."""
    check_complete(MATRIX)


@pytest.mark.parametrize("who", WHO)
@each_route
def test_everybody_may_what_the_samples_say(
    key: Key, who: str, clients: dict[str, APIClient], places: Known
) -> None:
    answer = ask(clients[who], key, places)

    assert answer.status_code == MATRIX[key].statuses[WHO.index(who)]
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/problem+json"


def test_every_permission_opens_something() -> None:
    """A permission in topology.toml that no view looks at, or that no sample tries."""
    granted = {name for route in MATRIX.values() for name in route.granted}
    assert granted == set(PERMISSIONS), "`granted` of a Route has what a permission opens"


@pytest.mark.parametrize("permission", PERMISSIONS)
@each_route
def test_a_permission_alone_opens_what_the_samples_say(
    key: Key, permission: str, bob: User, client_for: ClientFor, places: Known
) -> None:
    """A permission to ship that also cancels; a permission to read that changes something."""
    User.objects.filter(id=bob.id).update(granted=[permission])
    bob.refresh_from_db()
    answer = ask(client_for(bob), key, places)

    assert answer.status_code == MATRIX[key].granted.get(permission, as_another(key))


@each_route
def test_the_staff_flag_alone_opens_nothing_of_the_api(
    key: Key, bob: User, client_for: ClientFor, places: Known
) -> None:
    """A view that takes the flag, which opens the admin, for a permission."""
    User.objects.filter(id=bob.id).update(is_staff=True)
    bob.refresh_from_db()
    answer = ask(client_for(bob), key, places)

    assert answer.status_code == as_another(key)


UNDELETABLE = {p for _, p in MATRIX if p.startswith("/api") and ("DELETE", p) not in MATRIX}


@pytest.mark.parametrize("path", sorted(UNDELETABLE))
def test_nothing_is_deleted_unless_a_route_says_so(
    path: str, clients: dict[str, APIClient], places: Known
) -> None:
    assert clients["staff"].delete(at(path, places)).status_code in (403, 405)


@pytest.mark.parametrize("key", READS, ids=" ".join)
def test_every_page_opens_in_a_browser(key: Key, staff: User, places: Known) -> None:
    """The browsable API builds forms from every view, and must find what it needs there."""
    client = APIClient()
    client.force_login(staff)
    answer = client.get(at(key[1], places), headers={"Accept": "text/html"})

    assert answer.status_code in (200, 404, 406)


@pytest.mark.parametrize("key", [k for k in MATRIX if k[0] == "POST" and not MATRIX[k].keyless])
def test_every_post_that_changes_something_takes_a_key(key: Key) -> None:
    check_key(key, served()[key])
