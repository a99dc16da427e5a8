"""Kubernetes' API server, run with an empty store; see programs.py for where it comes from."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pathcast.local.ports import choose_ports
from tests.apiserver.programs import programs

Json = dict[str, Any]

_READY_S = 60.0


class Server:
    """The server at `address`, without a certificate that anybody knows; everybody may do everything."""

    def __init__(self, address: str, notes: Path) -> None:
        self.address, self._notes = address, notes
        self._kinds: dict[str, dict[str, Json]] = {}

    def requests_of(self, agent: str) -> list[Json]:
        """What clients whose names begin so have asked so far, as the server has noted it."""
        noted = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return [entry for entry in noted if entry.get("userAgent", "").startswith(agent)]

    def ask(self, method: str, path: str, body: Json | None = None, kind: str = "json") -> tuple[int, Json]:
        """Status and answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310
            self.address + path, method=method, data=data, headers={"Content-Type": f"application/{kind}"}
        )
        context = ssl._create_unverified_context()  # noqa: S323
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def place(self, version: str, kind: str, namespace: str | None) -> str:
        """Where objects of a kind are; those of all namespaces, where none is given."""
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._kinds:
            resources = self.ask("GET", base)[1].get("resources", ())
            self._kinds[version] = {found["kind"]: found for found in resources if "/" not in found["name"]}
        assert kind in self._kinds[version], f"the server has no {kind} of {version}"
        found = self._kinds[version][kind]
        within = f"/namespaces/{namespace}" if found["namespaced"] and namespace else ""
        return f"{base}{within}/{found['name']}"

    def write_access(self, file: Path) -> Path:
        """A KUBECONFIG for this server."""
        cluster = {"server": self.address, "insecure-skip-tls-verify": True}
        context = {"cluster": "test", "user": "test", "namespace": "pathcast"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            # Any name; the server asks for none, but the clients would.
            "users": [{"name": "test", "user": {"username": "test", "password": "test"}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        file.write_text(yaml.safe_dump(content))
        return file


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """The server, with an empty store in `folder`."""
    found = programs()
    ports = choose_ports(("client", "peer", "server"), {})
    client, peer = (f"http://127.0.0.1:{ports[name]}" for name in ("client", "peer"))
    etcd = [str(found / "etcd"), f"--data-dir={folder / 'etcd'}", "--log-level=error"]
    etcd += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"]
    etcd += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
    server = [str(found / "server"), f"--etcd-servers={client}", "--bind-address=127.0.0.1"]
    server += [f"--secure-port={ports['server']}", f"--cert-dir={folder / 'certificates'}"]
    policy, notes = folder / "audit-policy.yaml", folder / "audit.log"
    everything = {"level": "Metadata", "omitStages": ["RequestReceived"]}
    policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [everything]}))
    server += [f"--audit-policy-file={policy}", f"--audit-log-path={notes}"]
    with (folder / "server.log").open("wb") as log:
        started = [subprocess.Popen(command, stdout=log, stderr=log) for command in (etcd, server)]
        try:
            reached = Server(f"https://127.0.0.1:{ports['server']}", notes)
            _wait_until_ready(reached, started)
            yield reached
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(30)


def _wait_until_ready(server: Server, started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        assert all(process.poll() is None for process in started), "see server.log"
        try:
            if server.ask("GET", "/version")[0] == 200:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(f"the API server was not ready within {_READY_S} s")
