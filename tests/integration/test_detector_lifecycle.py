"""A camera's archive becomes labels, a trained detector and a champion, on the real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import scenes
from support.bright import write_bright_detector
from support.streaming import Service, stored
from support.waiting import wait_for
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.detection.coco_json import read_coco
from pathcast.detection.labelled import LabelledImages
from pathcast.export.detector import write_config
from pathcast.local.platform import Platform
from pathcast.messaging.topics import ensure_topics
from pathcast.registry.publishing import ModelLifecycle
from pathcast.registry.shipped import publish_shipped
from pathcast.registry.tracking import tracking_client
from pathcast.storage.object_store import object_store
from pathcast.training import lifecycle as steps
from pathcast.training.detector import FAMILY
from pathcast.training.ending import finish
from pathcast.training.family import Selection
from pathcast.training.jobs import Crew
from pathcast.training.prepared import prepare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

RUNNER = CliRunner()
CAMERA, FPS, FRAMES = "yard-1", 10, 120
BEGIN = (datetime.now(tz=UTC) - timedelta(hours=2)).replace(second=0, microsecond=0)
TINY = {
    "width": 0.125,
    "input_width": 160,
    "input_height": 128,
    "samples": 400,
    "epochs": 6,
    "learning_rate": 6e-3,
    "ema": 0.95,
}


def run(*arguments: object) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def archived(
    platform: Platform, platform_settings: PlatformSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PlatformSettings]:
    """The platform with a champion, and with a clip that went through `pathcast stream` and the archiver."""
    folder = tmp_path_factory.mktemp("clip")
    publish_shipped(platform_settings, "detector")
    ensure_topics(
        platform_settings.kafka_bootstrap,
        frames_topic=platform_settings.frames_topic,
        observations_topic=platform_settings.observations_topic,
    )
    archiver = Service("archiver", platform_settings, folder / "archiver.log")
    archiver.start()
    clip = scenes.write_scene_video(folder / "yard.avi", FRAMES, FPS)
    run(
        *("stream", clip, "--camera", CAMERA, "--fps", FPS, "--pace", "fast"),
        *("--start-at", BEGIN.isoformat(), "--state-dir", platform.state_dir),
    )
    wait_for(lambda: len(stored(platform_settings, "frames", CAMERA)) == FRAMES, "all frames are archived")
    yield platform_settings
    archiver.process.kill()
    archiver.process.wait(30)


@pytest.fixture(scope="module")
def labels(archived: PlatformSettings, platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pathcast label` makes of five seconds of the archive, two seconds in."""
    output = tmp_path_factory.mktemp("labels")
    since, until = (BEGIN + timedelta(seconds=seconds) for seconds in (2, 7))
    run(
        *(
            "label",
            "--camera",
            CAMERA,
            "--since",
            f"{since:%Y-%m-%dT%H:%M:%S}",
            "--until",
            f"{until:%Y-%m-%dT%H:%M:%S}",
        ),
        *("--every", 5, "--output", output, "--state-dir", platform.state_dir, "--json", output / "counts.json"),
    )
    return output


def test_the_archive_is_labelled_by_camera_and_time(labels: Path) -> None:
    found = read_coco(labels / "labels.json")
    times = [image.captured_at for image in found]
    assert times == [BEGIN + timedelta(seconds=2 + number / 2) for number in range(10)]
    assert {image.camera for image in found} == {CAMERA}
    assert json.loads((labels / "counts.json").read_text())["images"] == 10
    assert found.images[0].name == f"images/{CAMERA}_{times[0]:%Y%m%dT%H%M%S.%fZ}.jpg"
    assert found.read(found.images[0]).shape == (240, 320, 3)


def test_a_camera_without_frames_is_named(archived: PlatformSettings, platform: Platform, tmp_path: Path) -> None:
    place = ("--output", tmp_path, "--state-dir", platform.state_dir)
    since, until = (f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (BEGIN, BEGIN + timedelta(hours=1)))
    with pytest.raises(InvalidInputError, match=f"frames of yard-2 from .* found none; cameras .*{CAMERA}"):
        run("label", "--camera", "yard-2", "--since", since, "--until", until, *place)
    with pytest.raises(InvalidInputError, match="--camera, --since and --until together"):
        run("label", "--since", "2026-01-01", *place)


def from_people(given: LabelledImages, target: Path) -> Path:
    """The true boxes of all labelled frames, as CVAT gives them back."""
    images, annotations = [], []
    for number, image in enumerate(given, start=1):
        frame = round((image.captured_at - BEGIN).total_seconds() * FPS)
        images.append({"id": number, "width": image.width, "height": image.height, "file_name": Path(image.name).name})
        for box, kind in zip(*scenes.boxes(frame), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": {scenes.CAR: 1, scenes.PERSON: 2}[int(kind)],
                    "segmentation": [],
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                    "iscrowd": 0,
                    "attributes": {"occluded": False, "rotation": 0.0},
                }
            )
    categories = [{"id": 1, "name": "car", "supercategory": ""}, {"id": 2, "name": "person", "supercategory": ""}]
    target.write_text(json.dumps({"categories": categories, "images": images, "annotations": annotations}))
    return target


def test_people_s_corrections_are_taken_back(labels: Path, tmp_path: Path) -> None:
    back = from_people(read_coco(labels / "labels.json"), tmp_path / "instances_default.json")
    run("data", "correct", labels / "labels.json", "--by", back, "--output", tmp_path / "labels.json")
    first = read_coco(tmp_path / "labels.json", labels).images[0]
    places, classes = scenes.boxes(2 * FPS)
    np.testing.assert_allclose(first.xyxy, places)
    assert first.class_ids.tolist() == classes.tolist()
    assert np.isnan(first.scores).all()


def recorded(settings: PlatformSettings) -> None:
    """The training is a run with COCO's metrics by epoch, and with pictures of its scores and of its boxes."""
    client = tracking_client(settings.mlflow_tracking_uri)
    run, *_ = client.search_runs([client.get_experiment_by_name("detector").experiment_id])
    assert run.info.status == "FINISHED"
    epochs = list(range(1, TINY["epochs"] + 1))
    for name in ("loss", "val_loss", "val_map50", "val_map50_95", "val_person_ap50", "val_car_ap50"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == epochs, name
    names = {item.path for item in client.list_artifacts(run.info.run_id, "pictures")}
    assert names == {f"pictures/{name}.png" for name in ("precision_recall", "confusion", "samples")}
    picture = cv2.imread(client.download_artifacts(run.info.run_id, "pictures/samples.png"))
    assert picture.shape == (6 * 320, 2 * 416, 3)
    assert picture.std() > 10


def test_archived_frames_become_a_champion(archived: PlatformSettings, tmp_path: Path) -> None:
    """Each step as its component calls it; the labels are people's, the champion before is the shipped detector."""
    settings, lifecycle = archived, ModelLifecycle(archived)
    before = lifecycle.champion("detector")
    everything = Selection((CAMERA,), 1.0, {"every": 1, "most": 100})
    first = steps.select_data(settings, "detector", tmp_path / "first", everything)
    assert first["teacher"] == f"detector {before}"
    # Of 120 frames 100 in two stretches, all kept: the gate asks for 20 that are held out.
    assert first["samples"] == 100
    back = from_people(read_coco(tmp_path / "first" / CAMERA / "labels.json"), tmp_path / "back.json")
    # Both from the object store, which every pod of a cluster sees.
    store = object_store(settings)
    store.fput_object(settings.models_bucket, "labels/back.json", str(back))
    stored_files = {
        "teacher": f"s3://{settings.models_bucket}/triton/detector/{before}/model.onnx",
        "corrections": f"s3://{settings.models_bucket}/labels/back.json",
    }
    wanted = Selection((CAMERA,), 1.0, {**everything.options, **stored_files})
    card = steps.select_data(settings, "detector", tmp_path / "raw", wanted)
    assert card["cameras"][CAMERA]["corrected"]["images"] == card["samples"] == 100

    other = tmp_path / "other.json"
    other.write_text(back.read_text().replace('"file_name": "', '"file_name": "of-another-day-'))
    elsewhere = Selection((CAMERA,), 1.0, {**everything.options, "most": 4, "corrections": str(other)})
    with pytest.raises(InvalidInputError, match="expected images that are selected, got 100 that are not"):
        steps.select_data(settings, "detector", tmp_path / "none", elsewhere)

    options = {"val": 0.2, "test": 0.25, "gap_s": 0.1}
    data = prepare(FAMILY, tmp_path / "raw", tmp_path / "data", options)
    assert data.card["about"]["teacher"] == first["teacher"]
    assert steps.validate_data(settings, "detector", data.folder, min_samples=20).passed
    # The champion was not trained here; its file has the weights to go on from.
    begun = steps.train_model(
        *(settings, "detector", data.folder, tmp_path / "begun"),
        start_from="champion",
        changes={"epochs": 1, "samples": 16},
        crew=Crew(),
    )
    assert (begun.settings["width"], begun.settings["input_height"], begun.settings["normalised"]) == (
        0.1875,
        320,
        False,
    )
    steps.train_model(
        *(settings, "detector", data.folder, tmp_path / "trained"),
        start_from="random",
        changes=TINY,
        crew=Crew(),
    )
    recorded(settings)
    steps.export_onnx("detector", tmp_path / "trained", data.folder, tmp_path / "exported")
    parity = steps.check_parity("detector", tmp_path / "trained", tmp_path / "exported", data.folder)
    assert parity.passed, parity
    scores, verdicts = steps.evaluate_model(settings, "detector", tmp_path / "exported", data.folder, tmp_path)
    assert all(verdict.passed for verdict in verdicts), verdicts
    (compared,) = (verdict for verdict in verdicts if verdict.gate == "metric")
    assert compared.numbers["groups"] == 20 < scores.samples, "frames in a row resemble each other"
    exported = tmp_path / "exported"
    version = steps.register_model(
        *(settings, "detector", tmp_path / "trained", exported, data.folder, scores.metrics, [parity, *verdicts])
    )
    steps.publish_model(settings, "detector", version, exported)
    steps.deploy_model(settings, "detector", version, "1")
    assert steps.smoke_test(settings, "detector", version, exported, data.folder).passed
    steps.promote_model(settings, "detector", version)
    assert finish(settings, "detector", "test", None, run="1") == version == before + 1
    # The next training can start from it.
    assert lifecycle.fetch_weights("detector", tmp_path) == version


def test_unknown_options_and_no_frames_are_told(archived: PlatformSettings, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no option speed; expected one of corrections, every, frames, most"):
        steps.select_data(archived, "detector", tmp_path, Selection((), 1.0, {"speed": 1}))
    absent = f"s3://{archived.models_bucket}/labels/none.json"
    with pytest.raises(InvalidInputError, match=f"corrections {absent}: expected an object, found none"):
        steps.select_data(archived, "detector", tmp_path, Selection((), 1.0, {"corrections": absent}))
    with pytest.raises(InvalidInputError, match="expected frames of any camera from .*, found none"):
        steps.select_data(archived, "detector", tmp_path, Selection((), 1e-3))


def test_a_champion_of_another_kind_is_no_start_and_the_way_out_is_told(
    archived: PlatformSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "bright"
    (folder / "1").mkdir(parents=True)
    file = write_bright_detector(folder / "1" / "model.onnx")
    write_config(folder, file)
    (folder / "README.md").write_text("# Finds what is bright\n")
    publish_shipped(archived, "detector", folder)
    with pytest.raises(InvalidInputError, match=r"(?s)start_from=champion: .*YOLOX's kind.*start_from=random"):
        steps.train_model(
            *(archived, "detector", tmp_path, tmp_path / "trained"), start_from="champion", changes={}, crew=Crew()
        )
