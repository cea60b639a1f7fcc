"""What a web process serves: HTTP and, beside it, gRPC. `granian … shop.serving:application`.

`shop.wsgi:application` is HTTP alone, for those who give gRPC processes of its own
(`manage.py grpc`).
"""

import atexit

from django.conf import settings

from shop.wsgi import application

__all__ = ["application"]

from shop.rpc.server import Server

_server = Server(settings.DEPLOYMENT.grpc)
_server.start()
atexit.register(_server.stop)
