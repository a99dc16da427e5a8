"""A small Kubernetes API server for jobs: it checks each object that it is given, and plays the cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from support.listening import QuietHandler, listening

Json = dict[str, Any]
TOKEN = "a-token-of-the-test"


def pod(
    name: str,
    labels: dict[str, str],
    phase: str = "Running",
    *,
    restarts: int = 0,
    exit_code: int | None = None,
    reason: str = "",
    last_exit_code: int | None = None,
    waiting: tuple[str, str] | None = None,
    unplaced: str = "",
) -> Json:
    """A pod with one container as the API shows it."""
    ended = {"exitCode": exit_code, "reason": reason or "Error", "finishedAt": f"2026-03-01T10:00:{len(name):02d}Z"}
    state: Json = {"running": {}} if phase == "Running" else {}
    if exit_code is not None:
        state = {"terminated": ended}
    if waiting is not None:
        state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
    last = {} if last_exit_code is None else {"terminated": {**ended, "exitCode": last_exit_code}}
    container = {"name": "c", "image": "i", "imageID": "", "ready": True, "restartCount": restarts}
    conditions = [{"type": "PodScheduled", "status": "False", "message": unplaced}] if unplaced else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [] if unplaced else [{**container, "state": state, "lastState": last}],
        },
    }


@dataclass
class Moment:
    """What the cluster shows from one look at the job to the next."""

    condition: str | None = None
    message: str = ""
    pods: list[Json] = field(default_factory=list)


class KubernetesApi:
    """Objects by path. Each read of a job goes on to the next of `moments`; the last one stays.

    `faults` gives what is wrong with an object that is to be created. `errors` are answers, (method, part of the
    path, status), each given once, in their order, instead of the real one.
    """

    def __init__(self, faults: Callable[[Json], Iterable[str]], moments: Iterable[Moment]) -> None:
        self.objects: dict[str, Json] = {}
        self.created: list[Json] = []
        self.requests: list[tuple[str, str]] = []
        self.errors: list[tuple[str, str, int]] = []
        self.logs: dict[str, list[str]] = {}
        self.on_create: Callable[[Json], None] = lambda job: None
        self.cut_logs = 0
        self._faults, self._moments = faults, list(moments)
        self._now = Moment()

    def answer(self, method: str, target: str, body: Json | None) -> tuple[int, Any]:
        """Status and body."""
        split = urlsplit(target)
        path, query = split.path, parse_qs(split.query)
        self.requests.append((method, path))
        for error in self.errors:
            if error[0] == method and error[1] in path:
                self.errors.remove(error)
                return error[2], _status(error[2], "the test wants it so")
        if path.endswith("/log"):
            name = path.split("/")[-2]
            key = f"{name}/previous" if query.get("previous") == ["True"] else name
            lines = self.logs.get(key, [])[-int(query.get("tailLines", ["1000"])[0]) :]
            return 200, "".join(f"{line}\n" for line in lines)
        if path.endswith("/pods"):
            (selector,) = query["labelSelector"]
            name, _, value = selector.partition("=")
            found = [each for each in self._now.pods if each["metadata"]["labels"].get(name) == value]
            return 200, {"apiVersion": "v1", "kind": "PodList", "items": found}
        if method == "POST" and body is not None:
            return self._create(path, body)
        if path not in self.objects:
            return 404, _status(404, f"{path} not found")
        if method == "DELETE":
            return 200, self.objects.pop(path)
        return 200, self._look(path)

    def _create(self, path: str, body: Json) -> tuple[int, Any]:
        wrong = list(self._faults(body))
        if wrong:
            return 400, _status(400, f"strict decoding error: {wrong}")
        place = f"{path}/{body['metadata']['name']}"
        if place in self.objects:
            return 409, _status(409, f"{place} already exists")
        self.objects[place] = {**body, "metadata": {**body["metadata"], "uid": "1"}}
        self.created.append(body)
        self.on_create(body)
        return 201, self.objects[place]

    def _look(self, path: str) -> Json:
        if self._moments:
            self._now = self._moments.pop(0)
            condition = {"type": self._now.condition, "status": "True", "reason": "Test", "message": self._now.message}
            self.objects[path]["status"] = {"conditions": [condition] if self._now.condition else []}
        return self.objects[path]


@contextmanager
def serving(api: KubernetesApi, folder: Path) -> Iterator[Path]:
    """The API on a port of this machine, and a kubeconfig that leads there."""

    class Handler(QuietHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, _status(401, "Unauthorized")
            else:
                status, answer = api.answer(self.command, self.path, body)
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if "follow=True" in self.path and api.cut_logs:
                api.cut_logs -= 1
                data = data[: len(data) // 2]
            self.wfile.write(data)
            self.close_connection = True

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    file = folder / "kubeconfig"
    cluster = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    user = {"name": "test", "user": {"token": TOKEN}}
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [cluster],
                "contexts": [context],
                "users": [user],
            }
        )
    )
    with listening(server):
        yield file


def _status(code: int, message: str) -> Json:
    return {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message}
