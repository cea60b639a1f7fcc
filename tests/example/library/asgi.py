"""The entry point of a web process: `granian --interface asgi library.asgi:application`."""

import os

from severable.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")
application = get_asgi_application()
