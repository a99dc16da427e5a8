"""A YOLOX file through the real registry, object store and Triton; and the model repository's promises."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from minio import Minio
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.detection.preprocess import letterbox
from pathcast.local.platform import Platform
from pathcast.registry.registration import Registration
from pathcast.registry.repository import ModelRepository
from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.object_store import object_store

pytestmark = pytest.mark.integration

DATA = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[3] / "shared" / "data"))
OUTPUTS = ["boxes", "scores", "classes"]
CONFIG, OTHER_CONFIG = "max_batch_size: 1", "max_batch_size: 2"


@pytest.fixture(scope="module")
def sources() -> tuple[Path, Path]:
    found = DATA / "models" / "yolox_nano.onnx", DATA / "pets09_s2l1" / "vtest.avi"
    for path in found:
        if not path.is_file():
            pytest.skip(f"{path} is not there (PATHCAST_DATA names the data folder)")
    return found


@pytest.fixture
def store(platform_settings: PlatformSettings) -> Minio:
    return object_store(platform_settings)


@pytest.fixture
def repository(store: Minio) -> Iterator[ModelRepository]:
    """A repository in a bucket of its own."""
    bucket = "repository-test"
    store.make_bucket(bucket)
    yield ModelRepository(store, bucket)
    for item in store.list_objects(bucket, recursive=True):
        store.remove_object(bucket, item.object_name)
    store.remove_bucket(bucket)


def run_cli(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_imported_detector_is_served_as_it_was_converted(
    platform: Platform, platform_settings: PlatformSettings, sources: tuple[Path, Path], tmp_path: Path
) -> None:
    source, clip = sources
    place = ("--state-dir", platform.state_dir)
    common = ("--family", "detector", "--name", "detector_under_test", "--frames", clip)
    run_cli("models", "import", source, *common, "--output", tmp_path)
    run_cli("models", "import", source, *common, *place)

    local = onnxruntime.InferenceSession(
        str(tmp_path / "detector_under_test" / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    capture = cv2.VideoCapture(str(clip))
    batch = np.empty((4, 416, 416, 3), np.uint8)
    for row in batch:
        letterbox(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB), row)
    capture.release()
    with TritonClient(platform_settings.triton_grpc, shared_memory=True) as client:
        answer = client.infer("detector_under_test", {"images": batch})
    for name, expected in zip(OUTPUTS, local.run(OUTPUTS, {"images": batch}), strict=True):
        np.testing.assert_allclose(answer.outputs[name], expected, atol=1e-3, err_msg=name)

    registry = ModelRegistry(platform_settings.mlflow_tracking_uri)
    assert answer.model_version == str(registry.alias("detector_under_test", CHAMPION)) == "1"
    published = ModelRepository(object_store(platform_settings), platform_settings.models_bucket).versions(
        "detector_under_test"
    )
    digest = hashlib.sha256((tmp_path / "detector_under_test" / "1" / "model.onnx").read_bytes()).hexdigest()
    assert [(item.version, item.sha256) for item in published] == [(1, digest)]

    assert "detector_under_test" in run_cli("models", "list", *place)
    shown = run_cli("models", "show", "detector_under_test", *place)
    assert "champion" in shown
    assert "yolox_nano.onnx" in shown


def test_a_second_import_is_a_second_version_and_aliases_move(
    platform_settings: PlatformSettings, tmp_path: Path
) -> None:
    registry = ModelRegistry(platform_settings.mlflow_tracking_uri)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), str(tmp_path / "model.onnx"))
    assert registry.alias("aliases", CHAMPION) is None
    given = Registration(onnx_path=tmp_path / "model.onnx", card="# card", metrics={"ap50": 0.9}, tags={"made": "here"})
    numbers = [registry.register("aliases", given) for _ in range(2)]
    assert numbers == [1, 2]
    registry.set_alias("aliases", CHAMPION, 1)
    registry.set_alias("aliases", CHALLENGER, 2)
    registry.set_alias("aliases", CHAMPION, 2)
    assert registry.alias("aliases", CHAMPION) == registry.alias("aliases", CHALLENGER) == 2
    assert [(item.version, item.aliases, item.tags["made"]) for item in registry.versions("aliases")] == [
        (1, (), "here"),
        (2, (CHALLENGER, CHAMPION), "here"),
    ]
    assert registry.versions("unheard_of") == []


def test_a_version_never_changes(repository: ModelRepository, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    first = repository.publish("thing", path, CONFIG, version=1, card="card")
    assert repository.publish("thing", path, CONFIG, version=1, card="card") == first
    path.write_bytes(b"two")
    with pytest.raises(InvalidInputError, match="thing version 1: exists with SHA-256"):
        repository.publish("thing", path, OTHER_CONFIG, version=1, card="card")
    repository.publish("thing", path, OTHER_CONFIG, version=12, card="new card")
    assert [item.version for item in repository.versions("thing")] == [1, 12]
    assert repository.models() == ["thing"]
    assert repository.card("thing") == "new card"
    repository.serve("thing", 1)
    assert repository.card("thing") == "card"
    repository.fetch("thing", 1, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == b"one"


def test_damage_and_absence_are_told(repository: ModelRepository, store: Minio, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"whole")
    sha256 = repository.publish("thing", path, CONFIG, version=1, card="card").sha256
    store.put_object(
        "repository-test", "triton/thing/1/model.onnx", io.BytesIO(b"rotten"), 6, metadata={"sha256": sha256}
    )
    with pytest.raises(PathcastError, match="damaged"):
        repository.fetch("thing", 1, tmp_path / "back.onnx")
    assert not (tmp_path / "back.onnx").exists()
    with pytest.raises(InvalidInputError, match="version 2: not in the repository"):
        repository.fetch("thing", 2, tmp_path / "back.onnx")
    for name, version in (("../thing", 1), ("Thing", 1), ("thing", 0)):
        with pytest.raises(InvalidInputError, match="expected a-z"):
            repository.publish(name, path, CONFIG, version=version, card="card")
