"""JSON bodies, read with a limit."""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from rest_framework import exceptions
from rest_framework.parsers import JSONParser


class TooLarge(exceptions.APIException):
    """The body is larger than this shop reads."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."


class LimitedJSONParser(JSONParser):
    """DRF's parser reads any amount, and breaks on a body that is nested thousands deep."""

    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE

    def parse(self, stream: IO[Any], media_type: Any = None, parser_context: Any = None) -> Any:
        body = stream.read(self.limit + 1)
        if len(body) > self.limit:
            raise TooLarge
        try:
            return super().parse(BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise exceptions.ParseError("The JSON is nested too deep.") from None
