"""The platform's images: `python -m deployments.images.build build|scan|push`, behind `make images`, `scan`, `push`.

Everything an image gets is fetched and checked here, with this machine's own package index: the locked wheels, the
project's wheel, the list of parts (SBOM). The builds themselves need no network and hold no credentials.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.images.lock import image_lock
from pathcast.core.errors import InvalidInputError, PathcastError

PROJECT = Path(__file__).resolve().parents[2]
INPUT = PROJECT / "build" / "images"
"""What the Dockerfiles take, by image; .dockerignore lets nothing else of the ignored files in."""
DIGESTS = INPUT / "digests.json"

_PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")
_PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in range(5, 39)) + ("manylinux2014_x86_64",)
_BUILDERS = ("docker", "podman", "buildah")

_console = Console(stderr=True)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class Image:
    """One image: the extras that it installs, the argument that names its base, and the Python that it runs."""

    name: str
    extras: tuple[str, ...]
    base: str = "PYTHON_BASE"
    python: str = "3.11"

    @property
    def input(self) -> Path:
        return INPUT / self.name

    @property
    def dockerfile(self) -> Path:
        return PROJECT / "deployments" / "images" / self.name / "Dockerfile"


IMAGES = {
    image.name: image
    for image in (
        Image("pathcast-stream", ("serve", "stream")),
        Image("pathcast-train", ("serve", "stream", "pipelines", "train", "tracking", "monitor", "batch")),
        # Triton's Python backend runs the models in the Python of Triton's own image.
        Image("pathcast-triton", ("serve", "stream"), base="TRITON_BASE", python="3.12"),
    )
}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Build, scan and push the images.")
Names = Annotated[list[str] | None, typer.Option("--image", help="One of the images; all by default.")]


@app.command(epilog="Example: PYTHON_BASE=python:3.11-slim-bookworm@sha256:… python -m deployments.images.build build")
def build(image: Names = None) -> None:
    """Build with docker, podman or buildah (BUILDER chooses one)."""
    chosen = choose_images(image)
    bases = {one.base: checked_base(one.base, os.environ) for one in chosen}
    builder = find_builder(os.environ)
    for one in chosen:
        write_input(one)
        reference = image_reference(one, os.environ)
        _console.print(f"building {reference} with {builder}")
        _run(build_command(builder, one, bases[one.base], reference, os.environ))


@app.command(epilog="Example: python -m deployments.images.build scan --image pathcast-stream")
def scan(image: Names = None) -> None:
    """Look for known weaknesses that have a fix, with trivy; exit 1 on any of high or critical severity."""
    if shutil.which("trivy") is None:
        raise PathcastError(
            "scan: trivy is not installed", hint="install trivy; the Jenkins agent of this project has it"
        )
    builder = find_builder(os.environ)
    for one in choose_images(image):
        archive = INPUT / f"{one.name}.tar"
        archive.unlink(missing_ok=True)
        _run(save_command(builder, image_reference(one, os.environ), archive))
        report = INPUT / f"{one.name}.trivy.json"
        found = _run(
            ["trivy", "image", "--input", str(archive), "--severity", "HIGH,CRITICAL", "--ignore-unfixed"]
            + ["--exit-code", "1", "--format", "json", "--output", str(report)],
            check=False,
        ).returncode
        archive.unlink()
        if found:
            raise PathcastError(f"scan: {one.name} has weaknesses with a fix", hint=f"see {report}; raise the versions")


@app.command(epilog="Example: REGISTRY=registry.example/pathcast TAG=1.4.0 python -m deployments.images.build push")
def push(image: Names = None) -> None:
    """Push to REGISTRY and write the digests to build/images/digests.json, by which the chart deploys."""
    if not os.environ.get("REGISTRY"):
        raise InvalidInputError("push: REGISTRY is not set", hint="for example REGISTRY=registry.example/pathcast")
    builder = find_builder(os.environ)
    _log_in(builder, os.environ)
    digests = {one.name: _push(builder, image_reference(one, os.environ), one) for one in choose_images(image)}
    DIGESTS.write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _console.print(f"digests in {DIGESTS.relative_to(PROJECT)}")


def choose_images(names: Sequence[str] | None) -> list[Image]:
    """The images of these names, all of them where none is given."""
    unknown = set(names or ()) - IMAGES.keys()
    if unknown:
        raise InvalidInputError(f"--image {', '.join(sorted(unknown))}: expected some of {', '.join(IMAGES)}")
    return [IMAGES[name] for name in names or IMAGES]


def checked_base(argument: str, environment: Mapping[str, str]) -> str:
    """The base image named by the variable `argument`; it must be pinned by digest unless ALLOW_UNPINNED=1."""
    base = environment.get(argument, "")
    if not base or not (_PINNED.fullmatch(base) or environment.get("ALLOW_UNPINNED") == "1"):
        raise InvalidInputError(
            f"{argument}: expected an image pinned as NAME@sha256:DIGEST, got {base or 'nothing'}",
            hint=f"docs/operations.md says which base is meant and how to find its digest; for a trial without one, "
            f"{argument}=NAME ALLOW_UNPINNED=1",
        )
    return base


def find_builder(environment: Mapping[str, str], run: Run = subprocess.run) -> str:
    """The first of docker, podman and buildah that works here, or BUILDER where that is set."""
    wanted = environment.get("BUILDER")
    if wanted and wanted not in _BUILDERS:
        raise InvalidInputError(f"BUILDER: expected one of {', '.join(_BUILDERS)}, got {wanted}")
    tried = []
    for builder in [wanted] if wanted else _BUILDERS:
        if shutil.which(builder, path=environment.get("PATH")) is None:
            tried.append(f"{builder} is not installed")
        elif run([builder, "info"], capture_output=True, text=True).returncode:
            # The docker command alone builds nothing: its daemon must answer.
            tried.append(f"`{builder} info` fails")
        else:
            return builder
    raise PathcastError(f"no image builder works here: {'; '.join(tried)}", hint="start docker, or install buildah")


def image_reference(image: Image, environment: Mapping[str, str]) -> str:
    """Where the image goes: REGISTRY/NAME:TAG, `localhost` and the package's version by default."""
    return f"{environment.get('REGISTRY') or 'localhost'}/{image.name}:{environment.get('TAG') or version('pathcast')}"


def build_command(builder: str, image: Image, base: str, reference: str, environment: Mapping[str, str]) -> list[str]:
    """The builder's command line. Nothing is fetched in a build, so it gets no network."""
    arguments = {
        image.base: base,
        "ALLOW_UNPINNED": environment.get("ALLOW_UNPINNED", "0"),
        "VERSION": version("pathcast"),
        "REVISION": _revision(),
        "CREATED": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    command = [builder, "build", "--file", str(image.dockerfile), "--tag", reference]
    # buildah's chroot isolation knows the host's network only.
    if not (builder == "buildah" and environment.get("BUILDAH_ISOLATION") == "chroot"):
        command += ["--network", "none"]
    if builder != "docker":
        # The OCI format has no health checks.
        command += ["--format", "docker"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    return [*command, str(PROJECT)]


def save_command(builder: str, reference: str, archive: Path) -> list[str]:
    """Write an image to a file that scanners read."""
    if builder == "buildah":
        return ["buildah", "push", reference, f"docker-archive:{archive}:{reference}"]
    return [builder, "save", "--output", str(archive), reference]


def write_input(image: Image) -> None:
    """Write what the image's Dockerfile takes: the locked wheels with the project's own among them, and the SBOM."""
    lock = image_lock(PROJECT, image.extras)
    wheels, lock_file = image.input / "wheels", image.input / "requirements.lock"
    fetched = image.input / "fetched.sha256"
    digest = hashlib.sha256(lock.encode()).hexdigest()
    if not fetched.is_file() or fetched.read_text() != digest:
        shutil.rmtree(image.input, ignore_errors=True)
        wheels.mkdir(parents=True)
        lock_file.write_text(lock, encoding="utf-8")
        _console.print(f"fetching {lock.count('==')} locked packages of {image.name}")
        _run(fetch_command(image, lock_file, wheels))
        fetched.write_text(digest)
    for old in wheels.glob("pathcast-*.whl"):
        old.unlink()
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)], quiet=True)
    write_sbom(image)


def fetch_command(image: Image, lock: Path, wheels: Path) -> list[str]:
    """pip, which compares every file with the hashes of the lock."""
    common = ["--require-hashes", "--no-deps", "--requirement", str(lock)]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if image.python == f"{sys.version_info.major}.{sys.version_info.minor}":
        # Some packages have no wheel: they are built here, by the locked build backend.
        return [*pip, "wheel", "--no-build-isolation", *common, "--wheel-dir", str(wheels)]
    platforms = [f"--platform={tag}" for tag in _PLATFORMS]
    return [*pip, "download", "--only-binary=:all:", f"--python-version={image.python}", *platforms, *common,
            "--dest", str(wheels)]  # fmt: skip


def write_sbom(image: Image) -> None:
    """The image's Python parts as CycloneDX, the same bytes for the same lock."""
    _run(
        [sys.executable, "-m", "cyclonedx_py", "requirements", str(image.input / "requirements.lock")]
        + ["--pyproject", str(PROJECT / "pyproject.toml"), "--output-reproducible", "--mc-type", "application"]
        + ["--output-file", str(image.input / "sbom.cdx.json")],
        quiet=True,
    )


def _revision() -> str:
    return _run(["git", "rev-parse", "HEAD"], capture=True).stdout.strip()


def _log_in(builder: str, environment: Mapping[str, str]) -> None:
    """Log in where REGISTRY_USER and REGISTRY_PASSWORD are given; else the machine's own login counts."""
    user, password = environment.get("REGISTRY_USER"), environment.get("REGISTRY_PASSWORD")
    if user and password:
        host = environment["REGISTRY"].partition("/")[0]
        _run([builder, "login", "--username", user, "--password-stdin", host], text_in=password)


def _push(builder: str, reference: str, image: Image) -> str:
    """Push and return the digest that the registry knows the image by."""
    if builder == "docker":
        _run(["docker", "push", reference])
        answer = _run(["docker", "inspect", "--format", "{{index .RepoDigests 0}}", reference], capture=True)
        return answer.stdout.strip().rpartition("@")[2]
    digest = INPUT / f"{image.name}.digest"
    _run([builder, "push", "--digestfile", str(digest), reference])
    return digest.read_text().strip()


def _run(
    command: Sequence[str],
    *,
    check: bool = True,
    capture: bool = False,
    quiet: bool = False,
    text_in: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run in the project's folder; raises PathcastError where it fails and `check` is set."""
    result = subprocess.run(
        command,
        cwd=PROJECT,
        text=True,
        input=text_in,
        stdout=subprocess.PIPE if capture or quiet else None,
        stderr=subprocess.PIPE if quiet else None,
    )
    if check and result.returncode:
        raise PathcastError(
            f"`{' '.join(command[:3])} …` failed with exit code {result.returncode}{_tail(result.stderr)}",
            hint="its own output says more",
        )
    return result


def _tail(text: str | None) -> str:
    return f": {text.strip()[-400:]}" if text else ""


if __name__ == "__main__":
    try:
        app()
    except PathcastError as error:
        _console.print(f"error: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)
