"""The shop as a plain WSGI application, without gRPC. The server must buffer bodies."""

import os

from severable.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
