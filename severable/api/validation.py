"""The validation of requests by their serializers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request


def validated(
    serializer: type[serializers.Serializer[Any]], request: Request, *, partial: bool = False
) -> dict[str, Any]:
    """Return the validated body of a request. Raises ValidationError with every wrong field. With
    `partial`, fields may be omitted."""
    checked = serializer(data=request.data, partial=partial)
    checked.is_valid(raise_exception=True)
    data: dict[str, Any] = checked.validated_data
    return data
