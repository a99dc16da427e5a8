"""A real HTTP server that takes the messages of alerts."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer

from support.listening import QuietHandler, listening


class Receiver(ThreadingHTTPServer):
    """Answers with `answers` in turn, the last one for ever; keeps what it was sent: path, content type, JSON."""

    def __init__(self) -> None:
        self.answers = [204]
        self.received: list[tuple[str, str, dict]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=secretword"


class _Handler(QuietHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        answers = self.server.answers
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        self.end_headers()


def receiving() -> AbstractContextManager[Receiver]:
    """A receiver that listens within the block."""
    return listening(Receiver())
