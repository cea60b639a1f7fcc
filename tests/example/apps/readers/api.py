"""The public API of readers."""

from django.contrib.auth import authenticate
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.readers.models import Reader
from severable.api import AccessToken, caller_id, validated
from severable.errors import Unauthenticated


class CredentialsSerializer(serializers.Serializer):
    username = serializers.CharField()
    password = serializers.CharField()


class Token(APIView):
    authentication_classes = permission_classes = ()

    def post(self, request: Request) -> Response:
        """Sign in."""
        reader = authenticate(**validated(CredentialsSerializer, request))
        if reader is None:
            raise Unauthenticated("There is no account with this name and password.")
        return Response({"access": str(AccessToken.for_user(reader))})


class Me(APIView):
    def get(self, request: Request) -> Response:
        """Show the caller's own account."""
        reader = Reader.objects.get(pk=caller_id(request))
        return Response({"username": reader.username, "loans": reader.loans})
