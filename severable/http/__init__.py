"""What stands before Django in a web process: an ASGI application that reads requests whole.

`Front` is the application, `Answer` what is sent; `Forward` is for the gateway.
"""

from severable.http.answer import Answer, problem_of
from severable.http.app import Forward, Front
from severable.http.wsgi import Request

__all__ = ["Answer", "Forward", "Front", "Request", "problem_of"]
