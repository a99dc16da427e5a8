"""The images as they are built: what is in them, how large they are, how they run with next to no rights."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from deployments.images.build import IMAGES, PROJECT, build_command, write_input
from tests.images.conftest import Workshop, run

LARGEST_STREAM_BYTES = 600_000_000
HANGS_S = 20.0
"""How fast a service starts depends on the processor: it is printed, and its place is docs/benchmarks.md."""
# Nothing answers there: a service must start, be healthy, and keep trying.
NOWHERE = {
    "PATHCAST_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "PATHCAST_DATABASE_URL": "postgresql://pathcast@127.0.0.1:9/pathcast",
    "PATHCAST_S3_ENDPOINT": "127.0.0.1:9",
    "PATHCAST_S3_ACCESS_KEY": "none",
    "PATHCAST_S3_SECRET_KEY": "none",
    "PATHCAST_TRITON_GRPC": "127.0.0.1:9",
    "PATHCAST_MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "PATHCAST_PRODUCER_CAMERAS": '{"gate": "rtsp://127.0.0.1:9/live"}',
}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stream_image(workshop: Workshop) -> str:
    return workshop.build("pathcast-stream")


def _files(workshop: Workshop, reference: str) -> tuple[int, set[str]]:
    """Bytes of all files of an image as they lie on disk, and their paths."""
    container = workshop.buildah("from", reference).strip()
    try:
        root = workshop.buildah("mount", container).strip()
        listing = run("find", root, "-xdev", "-type", "f", "-printf", "%i %s %P\n")
    finally:
        workshop.buildah("rm", container)
    rows = [line.split(" ", 2) for line in listing.splitlines()]
    # A file with two names is stored once.
    return sum({inode: int(size) for inode, size, _ in rows}.values()), {path for _, _, path in rows}


def test_streaming_image_is_small_and_has_no_tensorflow(workshop: Workshop, stream_image: str) -> None:
    size, paths = _files(workshop, stream_image)
    base_size, _ = _files(workshop, workshop.environment["PYTHON_BASE"])
    print(f"\npathcast-stream: {size / 1e6:.0f} MB, of which the base is {base_size / 1e6:.0f} MB")
    assert size <= LARGEST_STREAM_BYTES
    packages = {
        path.split("site-packages/")[1].split("/")[0]
        for path in paths
        if "/pathcast/lib" in path and "site-packages/" in path
    }
    assert {"pathcast", "streaming", "kafka", "cv2", "tritonclient"} <= packages
    assert not packages & {"tensorflow", "keras", "mlflow", "kfp", "onnxruntime", "pytest"}
    assert not any(
        path.startswith("opt") and path.endswith(("requirements.lock", ".whl", "pip.conf")) for path in paths
    )


def test_streaming_image_says_what_it_is(workshop: Workshop, stream_image: str) -> None:
    configuration = workshop.configuration(stream_image)
    assert configuration["User"] == "10001:10001"
    assert configuration["Entrypoint"] == ["python", "-m"]
    assert configuration["Healthcheck"]["Test"][0] == "CMD"
    labels = configuration["Labels"]
    assert labels["org.opencontainers.image.title"] == "pathcast-stream"
    assert len(labels["org.opencontainers.image.revision"]) == 40


@pytest.mark.parametrize("service", ["analyzer", "archiver", "recorder", "producer"])
def test_services_start_without_rights_or_network(
    workshop: Workshop, stream_image: str, service: str, tmp_path: Path
) -> None:
    check = workshop.configuration(stream_image)["Healthcheck"]["Test"][1:]
    harness = (Path(__file__).with_name("in_container.py")).read_text()
    printed = workshop.run(
        stream_image, ["python", "-c", harness, f"streaming.{service}", json.dumps(check)], NOWHERE, tmp_path
    )
    result = json.loads(printed)
    assert result["answered_s"] is not None, result["log"]
    start_s = result["answered_s"] - result["waited_s"]
    print(f"\n{service}: up in {start_s:.2f} s, and {result['waited_s']:.2f} s of waiting for a core")
    assert start_s <= HANGS_S
    assert result["health_check"] == 0
    assert result["user"] == [10001, 10001]
    assert "Read-only file system" in result["written"]
    if service != "producer":
        # A consumer keeps trying until it is asked to stop; a producer waits for its first broker, then gives up.
        assert result["exit_code"] == 0, result["log"]


def test_sbom_names_every_package_of_the_image(workshop: Workshop, stream_image: str) -> None:
    sbom = json.loads((PROJECT / "build/images/pathcast-stream/sbom.cdx.json").read_text())
    listed = {part["name"].lower().replace("_", "-") for part in sbom["components"]}
    _, paths = _files(workshop, stream_image)
    assert "usr/share/sbom/pathcast-stream.cdx.json" in paths
    installed = {
        path.split("/")[-2].removesuffix(".dist-info").rpartition("-")[0].lower().replace("_", "-")
        for path in paths
        if path.startswith("opt/pathcast") and path.endswith(".dist-info/METADATA")
    }
    assert installed - {"pathcast"} == listed


def test_a_base_without_a_digest_is_refused(workshop: Workshop, stream_image: str) -> None:
    """Also by the Dockerfile itself, for those who build without make."""
    image = IMAGES["pathcast-stream"]
    with pytest.raises(AssertionError, match="PYTHON_BASE: expected NAME@sha256:DIGEST"):
        workshop.buildah(
            *("build", "--network", "none", "--build-arg", f"PYTHON_BASE={workshop.environment['PYTHON_BASE']}"),
            *("--file", str(image.dockerfile), str(PROJECT)),
        )


def test_tritons_image_gives_the_library_to_the_bases_own_python(workshop: Workshop, tmp_path: Path) -> None:
    """On a base with this Python instead of Triton's, which has no other source than a registry."""
    image = dataclasses.replace(IMAGES["pathcast-triton"], python="3.11")
    write_input(image)
    base = workshop.environment["PYTHON_BASE"]
    reference = "localhost/pathcast-triton:test"
    run(*build_command("buildah", image, base, reference, workshop.environment), environment=workshop.environment)
    # The next build of the real image fetches its own wheels.
    shutil.rmtree(image.input)
    assert workshop.configuration(reference)["User"] == "1000:1000"
    code = "import pathcast.serving.mot.endpoint as found; print(found.__file__)"
    printed = workshop.run(reference, ["python3", "-I", "-c", code], {}, tmp_path)
    assert printed.startswith("/opt/pathcast/pathcast/")
