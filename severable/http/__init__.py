"""The ASGI application in front of Django in a web process. It buffers whole requests.

`Front` is the application, `Answer` a response; `Forward` is for the gateway.
"""

from severable.http.answer import Answer, problem_of
from severable.http.app import Forward, Front
from severable.http.wsgi import Request

__all__ = ["Answer", "Forward", "Front", "Request", "problem_of"]
