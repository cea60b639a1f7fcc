"""A parser of JSON bodies with limits."""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from rest_framework import exceptions
from rest_framework.parsers import JSONParser

NOT_TEXT = exceptions.ErrorDetail("This is not Unicode text.", code="surrogate")


class TooLarge(exceptions.APIException):
    """The body is larger than the limit."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."


class LimitedJSONParser(JSONParser):
    """DRF's parser with limits: DRF's own reads any size, and fails on very deep nesting."""

    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    def parse(self, stream: IO[Any], media_type: Any = None, parser_context: Any = None) -> Any:
        body = stream.read(self.limit + 1)
        if len(body) > self.limit:
            raise TooLarge
        try:
            data = super().parse(BytesIO(body), media_type, parser_context)
            wrong = _not_text(data) if b"\\u" in body else None
        except RecursionError:
            raise exceptions.ParseError("The JSON is nested too deep.") from None
        if wrong:
            raise exceptions.ValidationError(wrong)
        return data


def _not_text(data: Any) -> Any:
    """Return DRF's errors for strings with a lone surrogate, or None if there are none.

    JSON can escape such a string, but UTF-8 cannot encode it: it can be neither stored nor sent.
    """
    if isinstance(data, str):
        return [NOT_TEXT] if _readable(data) != data else None
    found: dict[Any, Any]
    if isinstance(data, list):
        found = {index: _not_text(inner) for index, inner in enumerate(data)}
    elif isinstance(data, dict):
        found = {_readable(name): _not_text(name) or _not_text(data[name]) for name in data}
    else:
        return None
    return {name: inner for name, inner in found.items() if inner} or None


def _readable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
