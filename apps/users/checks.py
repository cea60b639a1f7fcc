"""The check of PUBLIC_URL by `manage.py check --deploy`."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security, deploy=True)
def public_url(**kwargs: Any) -> Iterator[CheckMessage]:
    """Refuse a URL for the links in mails that is not an https origin."""
    url = settings.PUBLIC_URL
    parts = urlsplit(url)
    if not (parts.scheme == "https" and parts.hostname and url == f"https://{parts.netloc}"):
        yield Error(f"PUBLIC_URL is {url!r}, which is no https://host", id="users.E001")
