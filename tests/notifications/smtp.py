"""A mail server on a socket, which answers each command as slowly as a test wants."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Pause = Callable[[str], object]


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps what it has accepted. `pause` is called with each command before its answer, also
    with "MESSAGE" before a message is accepted."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, pause: Pause) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.pause = pause
        self.messages: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            self.server.pause(verb)
            if verb == "DATA":
                self._say("354 go on")
                self._accept()
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _accept(self) -> None:
        lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
        message = "".join(lines)
        self.server.pause("MESSAGE")
        self.server.messages.append(message)
        self._say("250 accepted")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_server(pause: Pause = lambda verb: None) -> Iterator[MailServer]:
    server = MailServer(pause)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
