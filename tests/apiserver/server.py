"""Kubernetes' API server for custom resources, built from Debian's source packages and run with Debian's etcd.

Debian has the libraries `apiserver` and `apiextensions-apiserver` with their Go compiler in unstable; nothing is
installed on the machine. Fetching takes some 370 MB and building five minutes of a core; the result is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pathcast.local.ports import choose_ports
from tests.manifests.tools import tools_dir

Json = dict[str, Any]

_MAIN = Path(__file__).with_name("main.go")
_SUITE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n"
_PACKAGES = ("golang-k8s-apiextensions-apiserver-dev", "golang-go", "etcd-server")
_READY_S = 60.0


class Server:
    """The server at `address`, without a certificate that anybody knows."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Status and answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310
            self.address + path, method=method, data=data, headers={"Content-Type": "application/json"}
        )
        context = ssl._create_unverified_context()  # noqa: S323
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


def programs() -> Path:
    """A folder with `server` and `etcd`, made where it is not there yet."""
    folder = tools_dir() / "apiserver"
    if not (folder / "server").is_file():
        with tempfile.TemporaryDirectory() as scratch:
            _build(Path(scratch), folder)
    return folder


def _build(scratch: Path, folder: Path) -> None:
    lists, cache, root = scratch / "lists", scratch / "cache", scratch / "root"
    for part in (lists / "partial", cache / "archives" / "partial", root):
        part.mkdir(parents=True)
    (scratch / "sources.list").write_text(_SUITE)
    (scratch / "status").touch()
    apt = ["apt-get", f"-oDir::State::Lists={lists}", f"-oDir::Cache={cache}", "-oAPT::Sandbox::User=root"]
    apt += [f"-oDir::State::status={scratch / 'status'}", f"-oDir::Etc::SourceList={scratch / 'sources.list'}"]
    apt += ["-oDir::Etc::SourceParts=/dev/null", "-oDebug::NoLocking=1", "--quiet"]
    _run([*apt, "update"])
    _run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *_PACKAGES])
    for package in sorted((cache / "archives").glob("*.deb")):
        if package.name.startswith(("golang", "etcd")):
            _run(["dpkg-deb", "-x", str(package), str(root)])
    (go,) = root.glob("usr/lib/go-1.*")
    source = scratch / "own" / "src" / "pathcast" / "apiserver"
    source.mkdir(parents=True)
    shutil.copy(_MAIN, source)
    environment = {
        **os.environ,
        "GOROOT": str(go),
        "GOPATH": f"{scratch / 'own'}:{root / 'usr/share/gocode'}",
        "GOCACHE": str(scratch / "build"),
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    folder.mkdir(parents=True, exist_ok=True)
    _run([str(go / "bin" / "go"), "build", "-o", str(scratch / "server"), "pathcast/apiserver"], environment)
    shutil.copy(root / "usr" / "bin" / "etcd", folder / "etcd")
    shutil.move(scratch / "server", folder / "server")


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


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
    with (folder / "server.log").open("wb") as log:
        started = [subprocess.Popen(command, stdout=log, stderr=log) for command in (etcd, server)]
        try:
            reached = Server(f"https://127.0.0.1:{ports['server']}")
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
