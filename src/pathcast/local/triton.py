"""How the embedded Triton is started: its command line, its environment, and what to clear before a start.

The server is the one that production runs, and serves the same model repository. Run as a module, this
installs it: `python -m pathcast.local.triton`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pathcast.core.errors import PathcastError
from pathcast.local.triton_install import CODE_VARIABLE, TritonInstallation, install_triton, python_library_dir
from pathcast.serving.mot import TRACKER_VARIABLE

SHARED_MEMORY_DIR = Path("/dev/shm")  # noqa: S108
LOAD_LIMIT_S = 120
"""Longest a model process may take to start; without a limit, one that can't start blocks its model for ever."""

_PASSED_ON = ("HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", TRACKER_VARIABLE)


@dataclass(frozen=True)
class TritonPorts:
    """Three free TCP ports on 127.0.0.1."""

    grpc: int
    http: int
    metrics: int


@dataclass(frozen=True)
class S3Access:
    """Credentials for a model repository in an object store."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"


@dataclass(frozen=True)
class ServerCommand:
    """A program's argument list and its whole environment (not to be merged with the caller's)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def s3_repository(endpoint: str, *, bucket: str = "models", prefix: str = "triton", secure: bool = False) -> str:
    """Triton's name for a model repository in an object store other than AWS.

    >>> s3_repository("127.0.0.1:8333")
    's3://http://127.0.0.1:8333/models/triton'
    """
    return f"s3://{'https' if secure else 'http'}://{endpoint}/{bucket}/{prefix}"


def server_command(
    installation: TritonInstallation,
    ports: TritonPorts,
    repository: str | Path,
    *,
    s3: S3Access | None = None,
    shared_memory_prefix: str = "pathcast_triton",
    scratch_dir: Path | None = None,
) -> ServerCommand:
    """The command that serves `repository` (a folder, or `s3_repository(...)`) on loopback.

    No model is loaded at the start; clients load by name. Credentials go through the environment, which
    other users can't read. `shared_memory_prefix` names the server's own regions in /dev/shm; it must be
    unique among servers on this machine (see `remove_leftover_memory`). Models from an object store are copied
    into `scratch_dir` (which must exist; by default folders of their own in /tmp) while they are loaded; a killed
    server leaves the copies there.
    """
    if str(repository).startswith("s3://") and s3 is None:
        raise PathcastError(
            f"the model repository {repository} is in an object store, but no credentials were given",
            hint="pass `s3=S3Access(access_key, secret_key)`",
        )
    address = "127.0.0.1"
    argv = (
        str(installation.executable),
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        f"--backend-directory={installation.backends_dir}",
        f"--grpc-address={address}",
        f"--grpc-port={ports.grpc}",
        f"--http-address={address}",
        f"--http-port={ports.http}",
        f"--metrics-address={address}",
        f"--metrics-port={ports.metrics}",
        # Completing a config starts a model process only to ask it: a second per load; ours are complete.
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--exit-timeout-secs=5",
        "--log-verbose=0",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        f"--backend-config=python,stub-timeout-seconds={LOAD_LIMIT_S}",
    )
    environment = _environment(installation, s3)
    if scratch_dir is not None:
        environment["TRITON_AWS_MOUNT_DIRECTORY"] = str(scratch_dir)
    return ServerCommand(argv, environment)


def remove_leftover_memory(shared_memory_prefix: str) -> int:
    """Delete regions in /dev/shm that a killed server of this prefix left; call it only while none runs.

    Returns how many were deleted.
    """
    leftovers = list(SHARED_MEMORY_DIR.glob(f"{shared_memory_prefix}*"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _environment(installation: TritonInstallation, s3: S3Access | None) -> dict[str, str]:
    """A small environment: the caller's PYTHONPATH or VIRTUAL_ENV would mislead the stubs' own Python."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    system_path = os.environ.get("PATH", os.defpath)
    environment["PATH"] = os.pathsep.join([str(installation.stub_environment / "bin"), system_path])
    environment[CODE_VARIABLE] = str(installation.code_dir)
    library_dir = python_library_dir()
    if library_dir is not None:
        environment["LD_LIBRARY_PATH"] = str(library_dir)
    if s3 is not None:
        environment["AWS_ACCESS_KEY_ID"] = s3.access_key
        environment["AWS_SECRET_ACCESS_KEY"] = s3.secret_key
        environment["AWS_DEFAULT_REGION"] = s3.region
        # Without this, a wrong credential makes the S3 client ask a cloud's metadata service and wait for it.
        environment["AWS_EC2_METADATA_DISABLED"] = "true"
    return environment


def main() -> int:
    """Install the embedded Triton, showing what happens; the exit status."""
    console = Console(stderr=True)
    try:
        with console.status("checking the embedded Triton") as status:
            installation = install_triton(on_progress=lambda message: status.update(message))
    except PathcastError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    console.print(f"Triton is ready in {installation.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
