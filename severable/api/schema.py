"""The OpenAPI schema: the problems and headers that all operations share."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.permissions import AllowAny

from severable.api.idempotency import METHODS, Idempotent


class ProblemFieldSerializer(serializers.Serializer[Any]):
    """An error of one field."""

    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """A problem of RFC 9457, with a code for programs."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    trace_id = serializers.CharField(allow_blank=True)
    errors = ProblemFieldSerializer(many=True, required=False)  # type: ignore[assignment]


class Schema(AutoSchema):
    """A view's schema, with the problems and the Idempotency-Key added."""

    def get_override_parameters(self) -> list[Any]:
        if self.method in METHODS and isinstance(self.view, Idempotent):
            return [
                OpenApiParameter(
                    "Idempotency-Key",
                    str,
                    OpenApiParameter.HEADER,
                    description="The same key and body are executed once, with one response.",
                )
            ]
        return []

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        if direction == "response":
            for status in self._problems():
                bodies.setdefault(status, self._problem(status))
        return bodies

    def _problems(self) -> list[str]:
        # 401 is everywhere: a token that is sent must be valid, even if none is needed.
        problems = {"401", "406", "503"}
        if not any(isinstance(p, AllowAny) for p in self.view.get_permissions()):
            problems |= {"403"}
        if self.method in ("POST", "PUT", "PATCH"):
            problems |= {"400", "403", "409", "413", "415", "422"}
        if self._is_list_view():
            problems |= {"400", "404"}
        if "{" in self.path:
            problems |= {"404"}
        limits: Any = self.view.get_throttles()
        if any(self.method in limit.methods for limit in limits):
            problems |= {"429"}
        return sorted(problems)

    def _problem(self, status: str) -> Any:
        component = self.resolve_serializer(ProblemSerializer(), "response")
        return {
            "content": {"application/problem+json": {"schema": component.ref}},
            "description": "",
        }


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "severable.api.auth.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class BrowserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "severable.api.auth.BrowserAuthentication"
    name = "browser"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
