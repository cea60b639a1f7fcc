"""The public API of users."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.users import confirmations, queries, services, sessions
from apps.users.models import User
from apps.users.profiles import ProfileSerializer
from severable.api import (
    PROBLEM,
    Idempotent,
    ProblemSerializer,
    RateLimit,
    caller_id,
    key_ring,
    limits,
    may,
    permitted,
    validated,
)

CREDIT = "users:credit"


class RegistrationSerializer(ProfileSerializer):
    username = serializers.CharField(max_length=150, validators=[UnicodeUsernameValidator()])
    password = serializers.CharField(max_length=200, write_only=True, trim_whitespace=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        account = User(username=data["username"], email=data["email"], name=data["name"])
        try:
            validate_password(data["password"], account)
        except ValidationError as error:
            raise serializers.ValidationError({"password": error.messages}) from None
        return data


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = [
            *("id", "username", "name", "email", "email_confirmed", "address", "credit"),
            "permissions",
        ]

    email_confirmed = serializers.BooleanField()
    permissions = serializers.ListField(child=serializers.CharField())


class EmailSerializer(serializers.Serializer[User]):
    email = serializers.EmailField()
    email_confirmed = serializers.BooleanField()


class EmailTokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=1000)


class PreferencesSerializer(serializers.Serializer[Any]):
    order_mails = serializers.BooleanField()
    account_mails = serializers.BooleanField()


class CreditSerializer(serializers.Serializer[Any]):
    amount = serializers.IntegerField(
        min_value=-(10**12), max_value=10**12, help_text="Signed, in minor units"
    )


class SignInSerializer(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=200, trim_whitespace=False)


class RefreshSerializer(serializers.Serializer[Any]):
    refresh = serializers.CharField(max_length=4000)


class TokensSerializer(serializers.Serializer[Any]):
    access = serializers.CharField()
    refresh = serializers.CharField()


def visible(request: Request, user_id: int) -> User:
    """Return a user that the caller may see: the caller, or any user with the permission CREDIT.

    Raises UserNotFound.
    """
    if user_id != caller_id(request) and not may(request.user, CREDIT):
        raise queries.UserNotFound(user_id)
    return queries.user(user_id)


def own(request: Request, user_id: int) -> int:
    """Return the id if it is the caller's own. Raises UserNotFound for any other id."""
    if user_id != caller_id(request):
        raise queries.UserNotFound(user_id)
    return user_id


class SignUpLimit(RateLimit):
    """The limit on sign-ups, because each hashes a password."""

    name, methods = "sign-ups", ("POST",)


class Users(Idempotent):
    permission_classes = [AllowAny]
    throttle_classes = [SignUpLimit]

    @extend_schema(request=RegistrationSerializer, responses={201: UserSerializer})
    def post(self, request: Request) -> Response:
        """Register."""
        data = validated(RegistrationSerializer, request)
        user = services.register(registration=self.operation_id, **data)
        headers = {"Location": f"/api/users/{user.id}"}
        return Response(UserSerializer(user).data, status.HTTP_201_CREATED, headers=headers)


class Me(APIView):
    @extend_schema(responses=UserSerializer)
    def get(self, request: Request) -> Response:
        """Show your profile."""
        return Response(UserSerializer(queries.user(caller_id(request))).data)


class OneUser(APIView):
    @extend_schema(responses=UserSerializer)
    def get(self, request: Request, user_id: int) -> Response:
        """A user's profile."""
        return Response(UserSerializer(visible(request, user_id)).data)

    @extend_schema(request=ProfileSerializer, responses=UserSerializer)
    def patch(self, request: Request, user_id: int) -> Response:
        """Change your profile. Fields that are left out stay unchanged."""
        own(request, user_id)
        data = validated(ProfileSerializer, request, partial=True)
        user = services.update_profile(user_id=user_id, **data)
        return Response(UserSerializer(user).data)


class UserPreferences(APIView):
    @extend_schema(responses=PreferencesSerializer)
    def get(self, request: Request, user_id: int) -> Response:
        """Which mails you get."""
        preferences = queries.preferences(own(request, user_id))
        return Response(PreferencesSerializer(preferences).data)

    @extend_schema(request=PreferencesSerializer, responses=PreferencesSerializer)
    def put(self, request: Request, user_id: int) -> Response:
        """Choose the mails that you get."""
        own(request, user_id)
        data = validated(PreferencesSerializer, request)
        preferences = services.set_preferences(user_id=user_id, **data)
        return Response(PreferencesSerializer(preferences).data)


class EmailConfirmationRequest(Idempotent):
    @extend_schema(
        request=None,
        responses={
            202: EmailSerializer,
            (409, PROBLEM): ProblemSerializer,
            (429, PROBLEM): ProblemSerializer,
        },
    )
    def post(self, request: Request) -> Response:
        """Send the mail with the confirmation link again."""
        user = confirmations.request_again(user_id=caller_id(request))
        return Response(EmailSerializer(user).data, status.HTTP_202_ACCEPTED)


class EmailConfirmation(APIView):
    authentication_classes = ()
    permission_classes = [AllowAny]

    @extend_schema(
        request=EmailTokenSerializer,
        responses={
            200: EmailSerializer,
            (422, PROBLEM): ProblemSerializer,
            (429, PROBLEM): ProblemSerializer,
        },
    )
    def post(self, request: Request) -> Response:
        """Confirm an e-mail address with the token that was mailed to it."""
        limits.count_try(request)
        user = confirmations.confirm(**validated(EmailTokenSerializer, request))
        return Response(EmailSerializer(user).data)


class Credit(Idempotent):
    permission_classes = [permitted(CREDIT)]

    @extend_schema(
        request=CreditSerializer,
        responses={200: UserSerializer, (402, PROBLEM): ProblemSerializer},
    )
    def patch(self, request: Request, user_id: int) -> Response:
        """Give a user store credit, or take it if the amount is negative."""
        data = validated(CreditSerializer, request)
        user = services.change_credit(
            key=str(self.operation_id), user_id=user_id, reason="by staff", **data
        )
        return Response(UserSerializer(user).data)


@method_decorator(cache_control(no_store=True), name="dispatch")
class TokenView(APIView):
    """A view that issues or takes tokens, for callers without one. No cache may store its
    responses."""

    authentication_classes = ()
    permission_classes = [AllowAny]


class SignIn(TokenView):
    @extend_schema(
        request=SignInSerializer,
        responses={200: TokensSerializer, (429, PROBLEM): ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        """Sign in."""
        data = validated(SignInSerializer, request)
        with limits.signing_in(request, data["username"]):
            tokens = sessions.sign_in(**data)
        return Response(TokensSerializer(tokens).data)


class Refresh(TokenView):
    @extend_schema(
        request=RefreshSerializer,
        responses={200: TokensSerializer, (429, PROBLEM): ProblemSerializer},
    )
    def post(self, request: Request) -> Response:
        """Trade a refresh token for new tokens. Each is good once."""
        limits.count_try(request)
        tokens = sessions.refresh_tokens(**validated(RefreshSerializer, request))
        return Response(TokensSerializer(tokens).data)


class SignOut(TokenView):
    @extend_schema(request=RefreshSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        """Sign out."""
        sessions.sign_out(**validated(RefreshSerializer, request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PublicKeys(APIView):
    authentication_classes = ()
    permission_classes = [AllowAny]

    @extend_schema(responses=OpenApiResponse(description="A JSON Web Key Set (RFC 7517)"))
    def get(self, request: Request) -> Response:
        """The keys that verify this shop's tokens."""
        return Response({"keys": key_ring.public_keys()})
