"""The entry point of a web process: `granian --interface asgi shop.asgi:application`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from severable.http.serving import get_asgi_application

application = get_asgi_application()
