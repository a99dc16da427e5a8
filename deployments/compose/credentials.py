"""Writes deployments/compose/.env: `python -m deployments.compose.credentials`, behind `make compose-credentials`.

Passwords are generated once and kept; images can be changed by hand and are kept too. The file is readable by its
owner alone and never in git.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
COMPOSE, ENVIRONMENT = FOLDER / "compose.yaml", FOLDER / ".env"

IMAGES = {
    "KAFKA_IMAGE": "apache/kafka:4.3.0",
    "TIMESCALEDB_IMAGE": "timescale/timescaledb:2.29.2-pg18",
    "MINIO_IMAGE": "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
    "MINIO_CLIENT_IMAGE": "quay.io/minio/mc:RELEASE.2025-08-13T08-35-41Z",
    "MLFLOW_IMAGE": "ghcr.io/mlflow/mlflow:v3.17.2-full",
    "STREAM_IMAGE": f"localhost/pathcast-stream:{version('pathcast')}",
    "TRITON_IMAGE": f"localhost/pathcast-triton:{version('pathcast')}",
}
"""The servers are the cluster's versions (a test compares them with deployments/); ours come from `make images`."""

_REQUIRED = re.compile(r"\$\{([A-Z0-9_]+):\?")
_PASSWORD_BYTES = 24
_NOT_ROOT = 1000


def required_names(text: str) -> list[str]:
    """The variables that a compose file cannot do without, in order."""
    return list(dict.fromkeys(_REQUIRED.findall(text)))


def read_environment(text: str) -> dict[str, str]:
    """The variables of an .env file."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value for name, value in pairs}


def complete(known: Mapping[str, str], names: list[str]) -> dict[str, str]:
    """All that is known, and a value for each name that lacks one."""
    given = {**IMAGES, "MINIO_USER": f"{os.getuid() or _NOT_ROOT}:{os.getgid() or _NOT_ROOT}"}
    missing = [name for name in names if not known.get(name)]
    return {**known, **{name: given.get(name) or secrets.token_urlsafe(_PASSWORD_BYTES) for name in missing}}


def make_data_folder(folder: Path, owner: str) -> None:
    """The object store's folder, owned by `owner` ("uid:gid"), who need not be the caller where the caller is root."""
    folder.mkdir(parents=True, exist_ok=True)
    user, group = map(int, owner.split(":"))
    if os.getuid() == 0 and folder.stat().st_uid != user:
        os.chown(folder, user, group)


def main() -> int:
    """Write the file and say which variables are new; passwords are not shown."""
    known = read_environment(ENVIRONMENT.read_text(encoding="utf-8")) if ENVIRONMENT.exists() else {}
    values = complete(known, required_names(COMPOSE.read_text(encoding="utf-8")))
    partial = ENVIRONMENT.with_suffix(".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    partial.rename(ENVIRONMENT)
    make_data_folder(FOLDER / "data" / "minio", values["MINIO_USER"])
    new = len(values) - len(known)
    print(f"{ENVIRONMENT}: {new} new values, {len(known)} kept" if new else f"{ENVIRONMENT}: complete, nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
