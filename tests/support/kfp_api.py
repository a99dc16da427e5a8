"""A small Kubeflow Pipelines server: the answers of the real one, in its shapes, to what this project asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.listening import QuietHandler, listening

Json = dict[str, Any]
TOKEN = "a-secret-token"
BASE = "/apis/v2beta1"


class KfpApi:
    """Pipelines, experiments, runs and recurring runs that were made; `refuse` is answered to all but healthz."""

    def __init__(self) -> None:
        self.pipelines: dict[str, list[str]] = {}
        self.experiments: list[Json] = []
        self.runs: list[Json] = []
        self.recurring: list[Json] = []
        self.uploads: list[bytes] = []
        self.refuse = 0

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Json]:
        name = path.removeprefix(BASE)
        if name == "/healthz":
            return 200, {"multi_user": False}
        if self.refuse:
            return self.refuse, {"error": "the test wants it so", "code": 13, "message": "refused", "details": []}
        if name == "/pipelines":
            (wanted,) = json.loads(query["filter"][0])["predicates"]
            found = [each for each in self.pipelines if each == wanted["stringValue"]]
            return 200, {"pipelines": [{"pipeline_id": f"id-{each}", "display_name": each} for each in found]}
        if name in ("/pipelines/upload", "/pipelines/upload_version"):
            self.uploads.append(body)
            if name.endswith("upload"):
                self.pipelines[query["name"][0]] = ["1"]
                return 200, {"pipeline_id": f"id-{query['name'][0]}", "display_name": query["name"][0]}
            self.pipelines[query["pipelineid"][0].removeprefix("id-")].append(query["name"][0])
            return 200, {"pipeline_id": query["pipelineid"][0], "pipeline_version_id": "v", "name": query["name"][0]}
        made: Json = json.loads(body) if body else {}
        if name == "/experiments" and method == "GET":
            return 200, {"experiments": self.experiments}
        kind = {"/experiments": self.experiments, "/runs": self.runs, "/recurringruns": self.recurring}[name]
        key = {"/experiments": "experiment_id", "/runs": "run_id", "/recurringruns": "recurring_run_id"}[name]
        kind.append(made | {key: f"{key}-{len(kind) + 1}"})
        return 200, kind[-1]


@contextmanager
def serving(api: KfpApi, *, page: str | None = None) -> Iterator[str]:
    """The server's address. It wants the token; with `page` it is no Kubeflow, but shows that page to everybody."""

    class Handler(QuietHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            split = urlsplit(self.path)
            kind = "application/json"
            if page is not None:
                status, data, kind = 200, page.encode(), "text/html"
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, data = 401, b'{"error": "Unauthorized"}'
            else:
                status, answer = api.answer(self.command, split.path, parse_qs(split.query), body)
                data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with listening(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"
