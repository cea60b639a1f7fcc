"""The entry point of a web process: `granian --interface asgi shop.asgi:application`."""

import os

from severable.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()
