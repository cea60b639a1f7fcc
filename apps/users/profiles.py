"""The validation of profiles, for the public API and for the contract."""

from rest_framework import serializers

from apps.users.models import User, no_controls, one_line
from severable.errors import Invalid


class ProfileSerializer(serializers.Serializer[User]):
    name = serializers.CharField(max_length=200, validators=[one_line])
    email = serializers.EmailField(max_length=254)
    address = serializers.CharField(
        max_length=500, allow_blank=True, default="", validators=[no_controls]
    )


def checked(given: dict[str, str], *, partial: bool = False) -> dict[str, str]:
    """Return the valid fields of a profile, with `partial` only those given. Raises Invalid."""
    profile = ProfileSerializer(data=given, partial=partial)
    if not profile.is_valid():
        field, problems = next(iter(profile.errors.items()))
        raise Invalid(f"{field}: {problems[0]}", field=field)
    data: dict[str, str] = profile.validated_data
    return data
