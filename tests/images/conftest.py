"""Builds the images from a local Debian base and runs them as a cluster would; `make images-test`.

Takes minutes, root, and the Debian packages mmdebstrap, buildah and runc; it is skipped where one is missing.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
WORK = PROJECT / "build" / "images-test"
BASE = "localhost/pathcast-test-base"
_TOOLS = ("mmdebstrap", "buildah", "runc")
# What python:3.11-slim-bookworm has, made from Debian's packages: Python with pip and venv; no perl, no pages.
_PERL = "usrmerge perl libperl5.36 perl-modules-5.36 libfile-find-rule-perl libnumber-compare-perl libtext-glob-perl"
_DEBIAN = (
    *("mmdebstrap", "--quiet", "--variant=apt", "--include=python3.11,python3.11-venv,python3-pip,usr-is-merged"),
    '--aptopt=Apt::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")),
    f'--customize-hook=chroot "$1" apt-get -y -qq purge {_PERL}',
    "bookworm",
)


def run(*command: str, environment: Mapping[str, str] | None = None, text_in: str | None = None) -> str:
    """What the command prints; its errors are in the failure."""
    result = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **(environment or {})}, input=text_in, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{' '.join(command)}: {result.stdout[-3000:]}{result.stderr[-3000:]}"
    return result.stdout


@dataclass(frozen=True)
class Workshop:
    """buildah with a store of its own, and containers that have nothing but their image."""

    environment: Mapping[str, str]

    def buildah(self, *arguments: str) -> str:
        return run("buildah", *arguments, environment=self.environment)

    def build(self, name: str) -> str:
        """Build one image as `make images` does and return its reference."""
        run(sys.executable, "-m", "deployments.images.build", "build", "--image", name, environment=self.environment)
        return f"localhost/{name}:test"

    def configuration(self, reference: str) -> dict:
        return json.loads(self.buildah("inspect", "--type", "image", reference))["Docker"]["config"]

    def run(self, reference: str, arguments: list[str], environment: Mapping[str, str], folder: Path) -> str:
        """Run in the image: its own user, a read-only root, no network, no capability, no way to get one."""
        configuration = self.configuration(reference)
        container = self.buildah("from", reference).strip()
        try:
            run("runc", "spec", "--bundle", str(folder))
            file = folder / "config.json"
            spec = json.loads(file.read_text())
            spec["root"] = {"path": self.buildah("mount", container).strip(), "readonly": True}
            user, group = configuration["User"].split(":")
            variables = [*configuration["Env"], *(f"{name}={value}" for name, value in environment.items())]
            spec["process"] |= {
                "terminal": False,
                "args": arguments,
                "env": variables,
                "cwd": configuration["WorkingDir"] or "/",
                "user": {"uid": int(user), "gid": int(group)},
                "capabilities": {kind: [] for kind in spec["process"]["capabilities"]},
                "noNewPrivileges": True,
            }
            file.write_text(json.dumps(spec))
            return run(
                "runc", "--root", str(folder / "runc"), "run", "--bundle", str(folder), f"pathcast-{os.getpid()}"
            )
        finally:
            self.buildah("rm", container)


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        reason = f"the images are NOT built: {', '.join(missing) or 'root'} missing"
        print(f"\n{reason}", file=sys.stderr)
        pytest.skip(reason)
    WORK.mkdir(parents=True, exist_ok=True)
    storage = WORK / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{WORK}/store"\nrunroot = "{WORK}/run"\n')
    made = Workshop(
        {
            "CONTAINERS_STORAGE_CONF": str(storage),
            "BUILDAH_ISOLATION": "oci",
            "BUILDAH_RUNTIME": "runc",
            "BUILDER": "buildah",
            "TAG": "test",
            "REGISTRY": "",
            "PYTHON_BASE": BASE,
            "ALLOW_UNPINNED": "1",
        }
    )
    archive = WORK / "base" / "base.tar"
    if not archive.is_file():
        archive.parent.mkdir(exist_ok=True)
        run(*_DEBIAN, str(archive.with_suffix(".part.tar")))
        archive.with_suffix(".part.tar").rename(archive)
    dockerfile = WORK / "Dockerfile"
    dockerfile.write_text("FROM scratch\nADD base.tar /\nENV LANG=C.UTF-8\n")
    made.buildah("build", "--quiet", "--tag", BASE, "--file", str(dockerfile), str(archive.parent))
    yield made
    made.buildah("rmi", "--all", "--force")
