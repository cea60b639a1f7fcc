"""The accounts of the demo shop."""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import NAMESPACE_URL, uuid5

from apps.users import services
from apps.users.models import User

# (username, password, name, store credit in minor units, superuser)
ACCOUNTS = [
    ("admin", "admin", "Ada Admin", 0, True),
    ("alice", "demo", "Alice Archer", 100_000, False),
    ("bob", "demo", "Bob Baker", 5_000, False),
]


def steps() -> Iterator[Callable[[], None]]:
    for account in ACCOUNTS:
        yield partial(_account, *account)


def _account(username: str, password: str, name: str, credit: int, superuser: bool) -> None:
    if User.objects.filter(username=username).exists():
        return
    user = services.register(
        registration=uuid5(NAMESPACE_URL, f"demo:{username}"),
        username=username,
        password=password,
        name=name,
        email=f"{username}@example.com",
        address=f"{len(name)} Market Street",
        email_confirmed=True,
    )
    if superuser:
        User.objects.filter(id=user.id).update(is_staff=True, is_superuser=True)
    if credit:
        services.change_credit(
            key=f"demo-{username}", user_id=user.id, amount=credit, reason="demo"
        )
