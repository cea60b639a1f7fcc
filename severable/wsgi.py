"""Django as a plain WSGI application, for a project's wsgi.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django

from severable.config.environment import load_settings

if TYPE_CHECKING:
    from severable.http.wsgi import Handler


def get_wsgi_application() -> Handler:
    """Set Django up and return its WSGI application, for a server that buffers bodies."""
    load_settings()
    django.setup(set_prefix=False)
    from severable.http.wsgi import Handler

    return Handler()
