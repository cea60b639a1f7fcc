"""The shop as a plain WSGI application, without gRPC; the server must read bodies whole."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from severable.http.wsgi import get_wsgi_application

application = get_wsgi_application()
