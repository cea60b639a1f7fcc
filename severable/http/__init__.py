"""The ASGI application in front of Django in a web process. It buffers whole requests.

`Front` is the application. The rest is for an application in front of it, such as the gateway's:
`Exchanges` reads a request, whose head is a `Head`, and sends an `Answer`.
"""

from severable.http.answer import Answer
from severable.http.app import Application, Exchanges, Front, Send
from severable.http.body import Receive
from severable.http.head import Head, Scope

__all__ = ["Answer", "Application", "Exchanges", "Front", "Head", "Receive", "Scope", "Send"]
