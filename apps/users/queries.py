"""Reads of users."""

from apps.users.models import Preferences, User
from severable.errors import NotFound


class UserNotFound(NotFound):
    code = "user_not_found"

    def __init__(self, user_id: int) -> None:
        super().__init__(f"There is no user {user_id}.")


def user(user_id: int) -> User:
    found = User.objects.filter(id=user_id).first()
    if found is None:
        raise UserNotFound(user_id)
    return found


def locked(user_id: int) -> User:
    """Return a user, locked until the transaction ends. Raises UserNotFound."""
    found = User.objects.select_for_update().filter(id=user_id).first()
    if found is None:
        raise UserNotFound(user_id)
    return found


def preferences(user_id: int) -> Preferences:
    found = Preferences.objects.filter(user_id=user_id).first()
    return found or Preferences(user=user(user_id))
