"""The embedded Triton server on disk: installed once per environment, from hash-pinned lock files.

NVIDIA publishes Triton for CPUs only inside the `nvidia-pytriton` wheel. The server is taken out of it and
started directly; the wheel's own Python API and its dependencies are not used. Models run in "stub"
processes, one per model instance, which embed CPython and need numpy below 2 (with numpy 2 they return
corrupt tensors without an error), so the stubs get a small environment of their own: onnxruntime for the
backend of that name, and what Pathcast's own code needs in a model that is written in Python.

Layout, below `<environment>/share/pathcast/triton-<digest of the lock files>`:

    server/           the unpacked wheel; `server/pytriton/tritonserver` holds `bin/` and `backends/`
    stub/             the stubs' environment, with numpy 1
    code/<digest>/    one link, to a Pathcast on this machine; the server's environment says which one stubs import
    installed.json    digest of everything the installation was made from
"""

from __future__ import annotations

import ctypes.util
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pathcast.core.errors import PathcastError

SERVER_LOCK = Path(__file__).with_name("triton.lock")
STUB_LOCK = Path(__file__).with_name("triton_stub.lock")
ONNXRUNTIME_BACKEND = Path(__file__).parent / "triton_backends" / "onnxruntime" / "model.py"
PACKAGE = Path(__file__).resolve().parents[1]
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

CODE_VARIABLE = "PATHCAST_STUB_CODE"
"""Names, in the server's environment, the folder from which its stubs import Pathcast."""

# The stubs start Python isolated from PYTHONPATH; such a file is run when their environment is set up.
_PATH_FILE = f"""import os, sys; sys.path.extend(filter(None, [os.environ.get("{CODE_VARIABLE}")]))\n"""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TritonInstallation:
    """Where an installed server's parts are, below `root` (see `default_root`)."""

    root: Path

    @property
    def server_dir(self) -> Path:
        return self.root / "server" / "pytriton" / "tritonserver"

    @property
    def executable(self) -> Path:
        return self.server_dir / "bin" / "tritonserver"

    @property
    def backends_dir(self) -> Path:
        # The libraries find each other by paths relative to this folder, so it stays inside the wheel's tree.
        return self.server_dir / "backends"

    @property
    def stub_environment(self) -> Path:
        return self.root / "stub"

    @property
    def stub_packages(self) -> Path:
        return self.stub_environment / "lib" / f"python{PYTHON_VERSION}" / "site-packages"

    @property
    def code_dir(self) -> Path:
        """A folder that holds the running Pathcast and no other package.

        The folder that Pathcast itself is in may hold packages that the stubs must not see. Checkouts that
        share an environment have one each.
        """
        return self.root / "code" / hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]

    @property
    def marker(self) -> Path:
        return self.root / "installed.json"

    def is_current(self) -> bool:
        """Whether this installation is complete and was made from the present lock files and interpreter."""
        try:
            return bool(json.loads(self.marker.read_text())["digest"] == _digest())
        except (OSError, ValueError, KeyError, TypeError):
            return False


def default_root() -> Path:
    """The running environment's folder for a server of these locks; another version of Pathcast has its own."""
    return Path(sys.prefix) / "share" / "pathcast" / f"triton-{_digest()[:12]}"


def install_triton(root: Path | None = None, *, on_progress: Progress | None = None) -> TritonInstallation:
    """Install the server if it is missing or out of date; without work to do, no network and no lock is touched.

    Everything is prepared beside the target and renamed into place, so an interrupted installation leaves
    nothing half done, and two processes that start at once install once.

    Raises `PathcastError` if a package can't be had or the result does not run on this machine.
    """
    installation = TritonInstallation(root or default_root())
    if not installation.is_current():
        say = on_progress or (lambda message: None)
        installation.root.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(installation.root.with_name(installation.root.name + ".lock")):
            if not installation.is_current():
                _install(installation, say)
    _place_backend(installation)
    _place_code(installation)
    return installation


def python_library_dir() -> Path | None:
    """Folder with this interpreter's `libpython`, which the stubs load; None when the linker knows it anyway."""
    name = f"libpython{PYTHON_VERSION}.so.1.0"
    libdir = sysconfig.get_config_var("LIBDIR") or ""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for folder in (Path(libdir), Path(libdir) / multiarch, Path(sys.base_prefix) / "lib"):
        if (folder / name).exists():
            return folder
    if ctypes.util.find_library(f"python{PYTHON_VERSION}"):
        return None
    raise PathcastError(
        f"the embedded Triton runs models in processes that load {name}; it is not in {libdir} and not known "
        f"to the system's linker",
        hint=f"use a Python built with a shared library (Debian: `apt-get install libpython{PYTHON_VERSION}`; "
        f"`uv python install {PYTHON_VERSION}`; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)",
    )


def _install(installation: TritonInstallation, say: Progress) -> None:
    python_library_dir()
    parent = installation.root.parent
    with tempfile.TemporaryDirectory(prefix=f".{installation.root.name}-", dir=parent) as folder:
        fresh = TritonInstallation(Path(folder) / "new")
        say("installing the Triton server (145 MB, once per environment)")
        _pip_install(SERVER_LOCK, fresh.root / "server")
        say("installing the environment of Triton's model processes (400 MB)")
        venv.EnvBuilder(with_pip=False, symlinks=True).create(fresh.stub_environment)
        _pip_install(STUB_LOCK, fresh.stub_packages)
        (fresh.stub_packages / "pathcast.pth").write_text(_PATH_FILE)
        stub = fresh.server_dir / "python_backend_stubs" / PYTHON_VERSION / "triton_python_backend_stub"
        if not stub.exists():
            raise PathcastError(
                f"{SERVER_LOCK.name}: the wheel has no model process for Python {PYTHON_VERSION}",
                hint="run Pathcast on Python 3.11",
            )
        shutil.copy2(stub, fresh.backends_dir / "python" / stub.name)
        fresh.executable.chmod(0o755)
        (fresh.backends_dir / "python" / stub.name).chmod(0o755)
        say("checking that the server runs here")
        _check_runs(fresh)
        fresh.marker.write_text(json.dumps({"digest": _digest(), "python": sys.version}))
        if installation.root.exists():
            installation.root.rename(Path(folder) / "old")
        fresh.root.rename(installation.root)
    say(f"Triton installed in {installation.root}")


def _digest() -> str:
    digest = hashlib.sha256()
    texts = (PYTHON_VERSION, sys.base_prefix, _PATH_FILE)
    for part in (SERVER_LOCK.read_bytes(), STUB_LOCK.read_bytes(), *(text.encode() for text in texts)):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _place_backend(installation: TritonInstallation) -> None:
    """Put our backend beside the server's; it is refreshed on its own, so editing it needs no new installation."""
    target = installation.backends_dir / "onnxruntime" / "model.py"
    source = ONNXRUNTIME_BACKEND.read_bytes()
    if target.is_file() and target.read_bytes() == source:
        return
    target.parent.mkdir(exist_ok=True)
    # A real file under its final name only: Triton refuses links in backend folders.
    partial = target.with_name(f".model.{os.getpid()}")
    partial.write_bytes(source)
    partial.replace(target)


def _place_code(installation: TritonInstallation) -> None:
    link = installation.code_dir / PACKAGE.name
    if link.is_symlink():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # two processes may start at once
        link.symlink_to(PACKAGE, target_is_directory=True)


def _pip_install(lock: Path, target: Path) -> None:
    tail = ["--require-hashes", "--no-deps", "--target", str(target), "-r", str(lock)]
    failures: list[str] = []
    for installer in _installers():
        result = _run([*installer, *tail])
        if result.returncode == 0:
            return
        failures.append(f"{' '.join(installer[:3])}: {_tail(result.stderr)}")
        shutil.rmtree(target, ignore_errors=True)
    raise PathcastError(
        f"could not install {lock.name} into {target}:\n" + "\n".join(failures),
        hint="check that the package index can be reached, then run the same command again",
    )


def _installers() -> list[list[str]]:
    """Commands that install packages, the fastest first."""
    python = ["--python", sys.executable]
    uv = Path(sys.executable).with_name("uv")
    found = str(uv) if uv.exists() else shutil.which("uv")
    installers = [] if found is None else [[found, "pip", "install", "--quiet", *python]]
    if importlib.util.find_spec("pip") is not None:
        installers.append([sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:"])
    if not installers:
        raise PathcastError(
            f"neither uv nor pip is in the environment {sys.prefix}",
            hint=f"run `{sys.executable} -m ensurepip`, then the same command again",
        )
    return installers


def _check_runs(installation: TritonInstallation) -> None:
    """Both programs must load their libraries: a model process that can't leaves the server loading for ever."""
    usage = _run([str(installation.executable), "--help"])  # exits with 1 even when it prints its usage
    if "--model-repository" not in usage.stdout + usage.stderr:
        raise PathcastError(
            f"the Triton server does not start on this machine (exit {usage.returncode}): {_tail(usage.stderr)}",
            hint="the embedded Triton needs Linux on x86-64 with glibc 2.35 or newer (Debian 12, Ubuntu 22.04)",
        )
    check = (
        "import cv2, msgspec, numpy, onnxruntime, scipy; "
        "assert int(numpy.__version__.split('.')[0]) == 1, numpy.__version__"
    )
    imported = _run([str(installation.stub_environment / "bin" / "python"), "-c", check])
    if imported.returncode != 0:
        raise PathcastError(
            f"the environment of Triton's model processes is broken: {_tail(imported.stderr)}",
            hint=f"look at {STUB_LOCK.name}: every package in it must run with numpy 1",
        )


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-8:])
