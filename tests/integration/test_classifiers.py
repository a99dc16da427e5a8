"""A classifier behind the real Triton, asked by hand and by a camera; raw data from the real object store."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.bright import write_bright_detector
from support.classifier_file import picture_of, write_classifier
from support.gtsrb import as_archive, write_gtsrb
from support.streaming import Service, read_topic
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.camera import Camera
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.core.settings import PlatformSettings
from pathcast.export.signs import write_config
from pathcast.export.triton_config import render_config
from pathcast.local.platform import Platform
from pathcast.messaging.frame_codec import encode_frame
from pathcast.messaging.observation_codec import read_observation
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.topics import ensure_topics
from pathcast.registry.repository import ModelRepository
from pathcast.registry.shipped import publish_shipped
from pathcast.serving.classifiers import FileClassifier, open_classifier
from pathcast.serving.detection_classifier import DetectionClassifier
from pathcast.serving.frame_analyzer import FrameAnalyzer
from pathcast.serving.remote_models import constant_velocity
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.cameras import upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.object_store import object_store
from pathcast.storage.observations import read_observations
from pathcast.storage.writers import write_observations
from pathcast.tracking.settings import TrackerSettings
from pathcast.training.family import Selection, find_family
from pathcast.training.lifecycle import select_data
from pathcast.training.prepared import prepare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

START = datetime(2026, 4, 1, tzinfo=UTC)
CAMERA = Camera("signs-road", classify={"car": "signs"})


@pytest.fixture(scope="module")
def version(platform_settings: PlatformSettings, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The published version of a classifier that says the level of red."""
    folder = tmp_path_factory.mktemp("shipped")
    write_config(folder, write_classifier(folder / "1" / "model.onnx"))
    (folder / "README.md").write_text("# signs\n")
    return str(publish_shipped(platform_settings, "signs", folder).version)


def test_the_served_classifier_answers_as_its_file(
    platform: Platform, platform_settings: PlatformSettings, version: str, tmp_path: Path
) -> None:
    images = np.stack([picture_of(number % 43) for number in range(70)])
    with TritonClient(platform_settings.triton_grpc, shared_memory=platform_settings.triton_shared_memory) as client:
        probabilities, served = open_classifier(client, "signs").classify(images)
    assert served == version
    here, _ = FileClassifier(write_classifier(tmp_path / "signs.onnx")).classify(images)
    np.testing.assert_allclose(probabilities, here, atol=1e-6)
    cv2.imwrite(str(tmp_path / "stop.png"), picture_of(14)[..., ::-1])
    arguments = ["classify", tmp_path / "stop.png", "--triton", "--state-dir", platform.state_dir]
    arguments += ["--json", tmp_path / "out.json"]
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer = json.loads((tmp_path / "out.json").read_text())
    assert (answer["model_version"], answer["images"][0]["class"]) == (version, "stop")


class _TwoCars:
    model = "detector"

    def detect(self, images: list[np.ndarray]) -> tuple[list[Detections], str]:
        return [Detections([[0, 0, 30, 40], [30, 0, 60, 40]], [0.9, 0.8], [2, 0]) for _ in images], "1"


class _Straight:
    served = False

    def forecast(self, observed: np.ndarray, neighbours: np.ndarray) -> object:
        return constant_velocity(observed)


def test_what_a_camera_asks_for_is_stored(platform_settings: PlatformSettings, version: str) -> None:
    frames = []
    for number in range(3):
        jpeg = cv2.imencode(".png", picture_of(7 + number, 60)[:40, :, ::-1])[1].tobytes()
        frames.append(Frame(CAMERA.camera_id, number, START + timedelta(seconds=number), 60, 40, jpeg))
    with TritonClient(platform_settings.triton_grpc, shared_memory=platform_settings.triton_shared_memory) as client:
        analyzer = FrameAnalyzer(
            _TwoCars(),
            _Straight(),  # type: ignore[arg-type]
            lambda _: CAMERA,
            lambda _: nullcontext(),
            TrackerSettings(),
            DetectionClassifier(lambda model: open_classifier(client, model)),
        )
        made = [each for each in analyzer.analyze(frames) if isinstance(each, Observation)]
        analyzer.close()
    with connect(platform_settings.database_url, application_name="test") as connection:
        write_observations(connection, made)
        again = read_observations(connection, CAMERA.camera_id, START, START + timedelta(minutes=1))
        rows = connection.execute(
            "SELECT kind_id, classifier, classifier_version FROM detections WHERE camera_id = %s "
            "ORDER BY captured_at, detection_index",
            (CAMERA.camera_id,),
        ).fetchall()
    assert rows == [row for number in range(3) for row in ((7 + number, "signs", version), (None, None, None))]
    for one, other in zip(made, again, strict=True):
        (said,), (stored,) = one.classifications, other.classifications
        assert said.probabilities.tobytes() == stored.probabilities.tobytes()
        assert (said.detection_indices.tolist(), stored.detection_indices.tolist()) == ([0], [0])


def test_a_running_analyzer_asks_for_a_camera_that_wants_it(
    platform_settings: PlatformSettings, version: str, tmp_path: Path
) -> None:
    topics = {"frames_topic": "frames-classified", "observations_topic": "observations-classified"}
    settings = platform_settings.model_copy(update=topics)
    ensure_topics(settings.kafka_bootstrap, **topics)
    file = write_bright_detector(tmp_path / "model.onnx")
    repository = ModelRepository(object_store(settings), settings.models_bucket)
    repository.publish("bright", file, render_config("bright", file), version=1, card="# bright\n")
    with TritonClient(settings.triton_grpc) as client:
        client.load("bright")
    with connect(settings.database_url, application_name="test") as connection:
        upsert_camera(connection, "signs-live", classify={"person": "signs"})
    # Every cell of the picture is bright, so every cell is an object; its red says of which kind.
    picture = np.full((96, 96, 3), 250, np.uint8)
    picture[..., 0] = 14
    content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    kind = round(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., 2].mean())
    extra = {"PATHCAST_ANALYZER_DETECTOR": "bright", "PATHCAST_ANALYZER_FORECASTER": "none"}
    analyzer = Service("analyzer", settings, tmp_path / "analyzer.log", extra=extra)
    analyzer.start()
    try:
        with RecordProducer(settings.kafka_bootstrap, client_id="test", max_record_bytes=2**20) as producer:
            for number in range(3):
                for camera_id in ("signs-live", "plain-live"):
                    moment = START + timedelta(seconds=number)
                    frame = Frame(camera_id, number, moment, 96, 96, content.tobytes())
                    producer.send(settings.frames_topic, encode_frame(frame))
            producer.flush()
        made = [read_observation(record) for record in read_topic(settings, settings.observations_topic, 6)]
    finally:
        ended = analyzer.end(signal.SIGTERM)
    assert ended == 0, analyzer.text()
    asked = [each for each in made if each.camera_id == "signs-live"]
    for each in asked:
        (said,) = each.classifications
        assert (said.model, said.model_version) == ("signs", version)
        assert said.detection_indices.tolist() == list(range(len(each.detections)))
        assert len(said) == 36
        assert set(said.class_ids.tolist()) == {kind}
    assert [each.classifications for each in made if each.camera_id == "plain-live"] == [(), (), ()]


def test_raw_data_comes_from_the_object_store(platform_settings: PlatformSettings, tmp_path: Path) -> None:
    archive = as_archive(write_gtsrb(tmp_path / "set"), tmp_path / "gtsrb.tar.gz")
    store = object_store(platform_settings)
    bucket = platform_settings.models_bucket
    for key in ("raw/set/gtsrb.tar.gz", "raw/setting/other.tar.gz"):
        store.fput_object(bucket, key, str(archive))
    wanted = Selection((), 1.0, {"source": f"s3://{bucket}/raw/set"})
    card = select_data(platform_settings, "signs", tmp_path / "raw", wanted)
    assert card["samples"] == 1
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["gtsrb.tar.gz"]
    prepared = prepare(find_family("signs"), tmp_path / "raw", tmp_path / "data")
    assert prepared.card["samples"]["test"] == 6
    for place, expectation in (("raw/nothing", "found none"), ("/x", "expected s3://BUCKET/KEY")):
        other = replace(wanted, options={"source": f"s3://{bucket if place != '/x' else ''}/{place}"})
        with pytest.raises(InvalidInputError, match=expectation):
            select_data(platform_settings, "signs", tmp_path / "none", other)
