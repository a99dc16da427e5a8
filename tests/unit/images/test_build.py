import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deployments.images.build import (
    IMAGES,
    PROJECT,
    build_command,
    checked_base,
    choose_images,
    fetch_command,
    find_builder,
    image_reference,
    save_command,
)
from deployments.images.lock import image_lock, locked_entries
from pathcast.core.errors import InvalidInputError, PathcastError

PINNED = "python:3.11-slim-bookworm@sha256:" + "0" * 64
STREAM = IMAGES["pathcast-stream"]


@pytest.mark.parametrize(
    ("base", "allow", "accepted"),
    [
        (PINNED, "0", True),
        ("registry.example:5000/python@sha256:" + "a" * 64, "", True),
        ("python:3.11-slim-bookworm", "1", True),
        ("python:3.11-slim-bookworm", "0", False),
        ("python:3.11-slim-bookworm@sha256:abc", "0", False),
        ("@sha256:" + "0" * 64, "0", False),
        ("", "1", False),
    ],
)
def test_a_base_is_pinned_by_digest(base: str, allow: str, accepted: bool) -> None:
    environment = {"PYTHON_BASE": base, "ALLOW_UNPINNED": allow}
    if accepted:
        assert checked_base("PYTHON_BASE", environment) == base
    else:
        with pytest.raises(InvalidInputError, match="PYTHON_BASE: expected an image pinned"):
            checked_base("PYTHON_BASE", environment)


def _programs(folder: Path, **exit_codes: int) -> dict[str, str]:
    for name, code in exit_codes.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("exit_codes", "wanted", "found"),
    [
        ({"docker": 0, "podman": 0, "buildah": 0}, "", "docker"),
        ({"docker": 1, "podman": 0, "buildah": 0}, "", "podman"),
        ({"docker": 1, "buildah": 0}, "", "buildah"),
        ({"docker": 0, "buildah": 0}, "buildah", "buildah"),
    ],
)
def test_the_first_builder_that_works_is_taken(
    exit_codes: dict[str, int], wanted: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = _programs(tmp_path, **exit_codes) | {"BUILDER": wanted}
    monkeypatch.setenv("PATH", environment["PATH"])
    assert find_builder(environment) == found


@pytest.mark.parametrize(
    ("exit_codes", "wanted", "message"),
    [
        ({}, "", "docker is not installed; podman is not installed; buildah is not installed"),
        ({"docker": 1}, "", "`docker info` fails"),
        ({"docker": 0}, "podman", "podman is not installed"),
        ({"docker": 0}, "kaniko", "BUILDER: expected one of docker, podman, buildah, got kaniko"),
    ],
)
def test_no_builder_is_an_error_that_says_why(
    exit_codes: dict[str, int], wanted: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = _programs(tmp_path, **exit_codes) | {"BUILDER": wanted}
    monkeypatch.setenv("PATH", environment["PATH"])
    with pytest.raises(PathcastError, match=message):
        find_builder(environment)


def test_a_build_has_no_network_and_its_base_as_an_argument() -> None:
    command = build_command("docker", STREAM, PINNED, "localhost/pathcast-stream:1", {})
    assert command[:2] == ["docker", "build"]
    assert command[command.index("--network") + 1] == "none"
    assert f"PYTHON_BASE={PINNED}" in command
    assert "ALLOW_UNPINNED=0" in command
    assert "--format" not in command


@pytest.mark.parametrize(
    ("builder", "environment", "network"),
    [
        ("podman", {}, True),
        ("buildah", {"BUILDAH_ISOLATION": "oci"}, True),
        ("buildah", {"BUILDAH_ISOLATION": "chroot"}, False),
    ],
)
def test_other_builders_keep_the_health_check(builder: str, environment: dict[str, str], network: bool) -> None:
    command = build_command(builder, STREAM, PINNED, "localhost/pathcast-stream:1", environment)
    assert command[command.index("--format") + 1] == "docker"
    assert ("--network" in command) == network


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_an_image_is_saved_for_the_scanner(builder: str, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    command = save_command(builder, "localhost/pathcast-stream:1", archive)
    assert command[0] == builder
    assert any(str(archive) in part for part in command)
    assert any("localhost/pathcast-stream:1" in part for part in command)


@pytest.mark.parametrize(
    ("environment", "reference"),
    [
        ({"REGISTRY": "registry.example/vision", "TAG": "1.4.0"}, "registry.example/vision/pathcast-stream:1.4.0"),
        ({"REGISTRY": "", "TAG": "x"}, "localhost/pathcast-stream:x"),
    ],
)
def test_where_an_image_goes(environment: dict[str, str], reference: str) -> None:
    assert image_reference(STREAM, environment) == reference


def test_unknown_images_are_named() -> None:
    assert [image.name for image in choose_images(None)] == list(IMAGES)
    with pytest.raises(InvalidInputError, match="gpu: expected some of pathcast-stream"):
        choose_images(["gpu"])


@pytest.mark.parametrize("image", IMAGES.values(), ids=str)
def test_every_package_is_fetched_by_its_hash(image: object, tmp_path: Path) -> None:
    command = fetch_command(image, tmp_path / "requirements.lock", tmp_path)
    assert "--require-hashes" in command
    assert "--no-deps" in command


def test_tritons_packages_are_for_its_own_python(tmp_path: Path) -> None:
    command = fetch_command(IMAGES["pathcast-triton"], tmp_path / "requirements.lock", tmp_path)
    assert "--python-version=3.12" in command
    assert "--only-binary=:all:" in command


@pytest.mark.parametrize("image", IMAGES.values(), ids=[image.name for image in IMAGES.values()])
def test_dockerfiles_agree_with_the_table(image: object) -> None:
    lines = image.dockerfile.read_text().splitlines()
    assert lines.count(f"ARG {image.base}") == 2
    assert [line for line in lines if line.startswith("FROM ")] == [
        f"FROM ${{{image.base}}} AS installed",
        f"FROM ${{{image.base}}}",
    ]
    user = next(line for line in lines if line.startswith("USER ")).split()[1]
    assert all(part.isdecimal() and int(part) > 0 for part in user.split(":"))
    assert f"build/images/{image.name}" in image.dockerfile.read_text()


def test_dockerfiles_pass_hadolint() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*Dockerfile"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert {str(image.dockerfile.relative_to(PROJECT)) for image in IMAGES.values()} < set(listed)
    result = subprocess.run(
        [str(Path(sys.executable).with_name("hadolint")), *listed], cwd=PROJECT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_the_services_need_nothing_of_what_is_left_out_of_their_image() -> None:
    dockerfile = (PROJECT / "deployments" / "images" / "pathcast-stream" / "Dockerfile").read_text()
    (names,) = re.findall(r"scipy/\\\(([\w|\\]+)\\\)", dockerfile)
    left_out = [f"scipy.{name}" for name in names.split(r"\|")]
    assert len(left_out) > 5
    program = f"""
import sys
sys.modules.update(dict.fromkeys({left_out}))
import streaming.analyzer.__main__, streaming.archiver.__main__, streaming.recorder.__main__
import streaming.producer.__main__
from pathcast.tracking.association import linear_sum_assignment
print(linear_sum_assignment([[1, 0], [0, 1]])[1])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1 0]", done.stderr


def test_the_training_image_has_the_pipelines_that_the_monitor_starts(tmp_path: Path) -> None:
    dockerfile = (PROJECT / "deployments" / "images" / "pathcast-train" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\w+) \S+/site-packages/(\w+)$", dockerfile, re.MULTILINE)
    let_in = (PROJECT / ".dockerignore").read_text().splitlines()
    for source, target in copied:
        assert f"!{source}" in let_in
        shutil.copytree(PROJECT / source, tmp_path / target)
    # An editable install has the checkout on its path: what counts is what is found before it.
    program = """
import components
import pipelines
from pathcast.cli.pipeline import NAMES, load_pipeline
print([load_pipeline(name).name for name in NAMES], components.__file__, pipelines.__file__)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "continuous-training" in done.stdout, done.stderr
    assert done.stdout.split()[-2:] == [str(tmp_path / name / "__init__.py") for name in ("components", "pipelines")]


@pytest.mark.parametrize(
    ("image", "programs"),
    [
        (
            "pathcast-stream",
            [
                *(
                    f"streaming.{name}.__main__"
                    for name in ("analyzer", "archiver", "producer", "recorder", "replayer")
                ),
                "pathcast.storage.__main__",
            ],
        ),
        ("pathcast-triton", ["pathcast.serving.mot.endpoint"]),
    ],
)
def test_programs_import_nothing_that_their_image_has_not(image: str, programs: list[str]) -> None:
    installed = {*locked_entries(image_lock(PROJECT, IMAGES[image].extras)), "pathcast"}
    absent = [
        module
        for module, owners in packages_distributions().items()
        if not installed & {canonicalize_name(owner) for owner in owners}
    ]
    assert {"onnxruntime", "tensorflow", "mlflow"} <= set(absent)
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); import {', '.join(programs)}"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
