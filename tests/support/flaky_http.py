"""A server between a client and a real one, which refuses what a test says, or loses the answer to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

from support.listening import QuietHandler, listening


class Flaky(ThreadingHTTPServer):
    """Passes requests on to `target`, but for those of which `fails` (method, path) is true: they are answered 503.

    Where `after`, such a request is passed on first, and what is lost is its answer.
    """

    def __init__(self, target: str) -> None:
        self._user, _, self.target = urlsplit(target).netloc.rpartition("@")
        self.after = False
        self.fails: Callable[[str, str], bool] = lambda *_: False
        self.failed: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        """With the name and password that the target's address holds."""
        return f"http://{self._user}{'@' if self._user else ''}127.0.0.1:{self.server_port}"


class _Handler(QuietHandler):
    server: Flaky

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fails = self.server.fails(self.command, self.path)
        if fails:
            self.server.failed.append(f"{self.command} {self.path}")
        status, headers, answer = 503, [], b"{}"
        if not fails or self.server.after:
            connection = HTTPConnection(self.server.target, timeout=60)
            own = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body, own)
            given = connection.getresponse()
            content = given.read()
            connection.close()
            if not fails:
                status, headers, answer = given.status, given.getheaders(), content
        self.send_response(status)
        for name, value in headers:
            if name.lower() in ("content-type", "set-cookie"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _pass_on


def flaky(target: str) -> AbstractContextManager[Flaky]:
    """Such a server before `target` (http://[USER:PASSWORD@]HOST:PORT) within the block."""
    return listening(Flaky(target))
