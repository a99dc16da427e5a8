"""The embedded Triton's command keeps secrets out of sight and strangers out."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from pathcast.core.errors import PathcastError
from pathcast.local import triton
from pathcast.local.triton import S3Access, TritonPorts, remove_leftover_memory, s3_repository, server_command
from pathcast.local.triton_install import CODE_VARIABLE, SERVER_LOCK, STUB_LOCK, TritonInstallation

PORTS = TritonPorts(grpc=4001, http=4002, metrics=4003)
INSTALLATION = TritonInstallation(triton.Path("/opt/triton"))
ACCESS = S3Access("the-key", "the-secret")


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({}, "s3://http://127.0.0.1:8333/models/triton"),
        ({"secure": True}, "s3://https://127.0.0.1:8333/models/triton"),
        ({"bucket": "b", "prefix": "p/q"}, "s3://http://127.0.0.1:8333/b/p/q"),
    ],
)
def test_repository_names(keywords, name):
    assert s3_repository("127.0.0.1:8333", **keywords) == name


def test_every_listener_is_on_loopback():
    argv = server_command(INSTALLATION, PORTS, "/models").argv
    listeners = {argument for argument in argv if argument.startswith(("--grpc-", "--http-", "--metrics-"))}
    assert listeners == {
        f"--{name}-{what}"
        for name, port in (("grpc", 4001), ("http", 4002), ("metrics", 4003))
        for what in ("address=127.0.0.1", f"port={port}")
    }


def test_credentials_are_in_the_environment_only():
    command = server_command(INSTALLATION, PORTS, s3_repository("127.0.0.1:8333"), s3=ACCESS)
    assert not any("the-key" in argument or "the-secret" in argument for argument in command.argv)
    assert command.env["AWS_ACCESS_KEY_ID"] == "the-key"
    assert command.env["AWS_SECRET_ACCESS_KEY"] == "the-secret"


def test_an_object_store_needs_credentials():
    with pytest.raises(PathcastError, match="no credentials were given"):
        server_command(INSTALLATION, PORTS, s3_repository("127.0.0.1:8333"))


def test_the_callers_python_does_not_leak_into_the_model_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    monkeypatch.setenv("PATHCAST_DATABASE_URL", "a secret")
    env = server_command(INSTALLATION, PORTS, "/models").env
    assert not env.keys() & {"PYTHONPATH", "VIRTUAL_ENV", "PATHCAST_DATABASE_URL"}
    assert env[CODE_VARIABLE].startswith("/opt/triton/code/")
    assert env["PATH"].split(":")[0] == "/opt/triton/stub/bin"


def test_leftover_memory_is_removed_by_prefix(tmp_path, monkeypatch):
    monkeypatch.setattr(triton, "SHARED_MEMORY_DIR", tmp_path)
    for name in ("mine1", "mine2", "other"):
        (tmp_path / name).touch()
    assert remove_leftover_memory("mine") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_every_locked_package_is_pinned_with_hashes():
    for lock in (SERVER_LOCK, STUB_LOCK):
        lines = lock.read_text().splitlines()
        packages = [line for line in lines if not line.startswith(" ")]
        assert packages
        assert all("==" in line and line.endswith("\\") for line in packages)
    numpy = next(line for line in STUB_LOCK.read_text().splitlines() if line.startswith("numpy=="))
    assert numpy.startswith("numpy==1.")


def test_a_missing_or_broken_marker_is_no_installation(tmp_path):
    installation = TritonInstallation(tmp_path)
    assert not installation.is_current()
    for text in ("", "[]", "{}", '{"digest": "of something else"}'):
        installation.marker.write_text(text)
        assert not installation.is_current()


def test_the_model_processes_have_what_pathcasts_own_model_imports():
    code = "import sys, pathcast.serving.mot.endpoint; print(*(m for m in sys.modules if m.startswith('pathcast')))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    imported = {name for module in modules for name in imports(module)} - sys.stdlib_module_names - {"pathcast"}
    packages = {packages_distributions()[name][0] for name in imported}
    locked = {line.split("==")[0] for line in STUB_LOCK.read_text().splitlines() if not line.startswith(" ")}
    assert {"numpy", "opencv-python-headless"} <= packages <= locked


def imports(module):
    """The packages that a module names when it is imported."""
    for node in ast.parse(Path(find_spec(module).origin).read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
