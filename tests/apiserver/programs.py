"""The programs of these tests, built from Debian's packages with Debian's Go; nothing is installed on the machine.

`server` is Kubernetes' API server out of the libraries that Debian's unstable has, `etcd` its store, `rules` the
validation of built-in kinds out of the last source of Kubernetes that Debian had whole. Fetching takes some 430 MB,
building minutes of a core; the result is kept until a source of these programs changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.manifests.tools import tools_dir

_SOURCES = Path(__file__).parent
_MIRROR = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian"
_PACKAGES = ("golang-k8s-apiextensions-apiserver-dev", "kube-openapi", "golang-go", "etcd-server")
_GROUPS = "apps/v1 autoscaling/v2 batch/v1 core/v1 networking/v1 policy/v1 rbac/v1 scheduling/v1 storage/v1"
_TYPES = (
    *(f"k8s.io/api/{group}" for group in _GROUPS.split()),
    *(f"k8s.io/apimachinery/pkg/{part}" for part in ("api/resource", "apis/meta/v1", "runtime", "util/intstr")),
)
"""Whose schemas the server shows and merges by: those of server/builtin.go."""


def programs() -> Path:
    """A folder with `server`, `etcd` and `rules`, made where it is not there yet."""
    digest = hashlib.sha256()
    for source in (Path(__file__), *sorted(_SOURCES.glob("*/*.go"))):
        digest.update(source.read_bytes())
    folder = tools_dir() / f"apiserver-{digest.hexdigest()[:12]}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            _build(Path(scratch), made)
            shutil.copytree(made, folder.with_suffix(".part"), dirs_exist_ok=True)
            folder.with_suffix(".part").rename(folder)
    return folder


def _build(scratch: Path, made: Path) -> None:
    unstable = _Suite(scratch / "unstable", f"deb {_MIRROR} sid main")
    root = unstable.unpack(_PACKAGES, ("golang", "etcd", "kube-openapi"))
    shutil.copy(root / "usr/bin/etcd", made)
    (go,) = root.glob("usr/lib/go-1.*")
    environment = {
        **os.environ,
        "PATH": f"{go / 'bin'}:{os.environ['PATH']}",
        "GOROOT": str(go),
        "GOCACHE": str(scratch / "build"),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    (version,) = {re.search(r"_0\.([\d.]+)-", file.name)[1] for file in unstable.files("golang-k8s-apiserver-dev")}
    _build_server(scratch / "own", root, made, f"v1.{version}", environment)
    stable = _Suite(scratch / "stable", f"deb-src {_MIRROR} bookworm main")
    _build_rules(stable.source("kubernetes"), scratch / "rules", made, environment)


def _build_server(own: Path, root: Path, made: Path, version: str, environment: dict[str, str]) -> None:
    source = own / "src/pathcast/apiserver"
    shutil.copytree(_SOURCES / "server", source)
    environment = {**environment, "GO111MODULE": "off", "GOPATH": f"{own}:{root / 'usr/share/gocode'}"}
    generate = [str(root / "usr/bin/openapi-gen"), f"--output-dir={source / 'types'}", "--output-file=schemas.go"]
    generate += ["--output-pkg=pathcast/apiserver/types", f"--report-filename={own / 'report'}"]
    _run([*generate, *_TYPES], source, environment)
    flags = f"-X k8s.io/component-base/version.gitVersion={version}"
    _run(["go", "build", "-ldflags", flags, "-o", str(made / "server"), "pathcast/apiserver"], source, environment)


def _build_rules(unpacked: Path, own: Path, made: Path, environment: dict[str, str]) -> None:
    # Not as a module: its lists of modules are older than this Go likes.
    source = own / "src/k8s.io/kubernetes"
    source.parent.mkdir(parents=True)
    unpacked.rename(source)
    shutil.copytree(_SOURCES / "rules", source / "cmd/rules")
    environment = {**environment, "GO111MODULE": "off", "GOPATH": str(own)}
    _run(["go", "build", "-o", str(made / "rules"), "k8s.io/kubernetes/cmd/rules"], source, environment)


class _Suite:
    """One of Debian's suites, with lists of its own in `folder`."""

    def __init__(self, folder: Path, line: str) -> None:
        self._folder = folder
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "sources.list").write_text(f"{line}\n")
        (folder / "status").touch()
        settings = {
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "1",
        }
        self._apt = ["apt-get", "--quiet", *(f"-o{name}={value}" for name, value in settings.items())]
        _run([*self._apt, "update"], folder)

    def files(self, package: str) -> list[Path]:
        """The fetched packages whose names begin so."""
        return sorted((self._folder / "cache/archives").glob(f"{package}*.deb"))

    def unpack(self, packages: tuple[str, ...], wanted: tuple[str, ...]) -> Path:
        """The contents of `packages` and what they need, as far as its names begin with one of `wanted`."""
        install = ["install", "--yes", "--download-only", "--no-install-recommends"]
        _run([*self._apt, *install, *packages], self._folder)
        root = self._folder / "root"
        for file in (file for name in wanted for file in self.files(name)):
            _run(["dpkg-deb", "-x", str(file), str(root)], self._folder)
        return root

    def source(self, package: str) -> Path:
        """The upstream source of a package."""
        _run([*self._apt, "source", "--download-only", package], self._folder)
        (archive,) = self._folder.glob(f"{package}_*.orig.tar.*")
        _run(["tar", "-xf", str(archive)], self._folder)
        (unpacked,) = self._folder.glob(f"{package}-*/")
        return unpacked


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
