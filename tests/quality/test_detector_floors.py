"""The imported detector's scores on real images must not fall below the figures in floors.toml."""

import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import GateFailedError
from pathcast.detection.average_precision import average_precision, sequence_truth
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.parity import BOX_TOLERANCE_PX, SCORE_TOLERANCE, check_parity
from pathcast.detection.postprocess import NMS_IOU, SCORE_THRESHOLD, to_detections
from pathcast.detection.preprocess import letterbox
from pathcast.detection.served_weights import read_served
from pathcast.detection.settings import SIZES
from pathcast.detection.weights import load_yolox
from pathcast.detection.yolo_text import read_yolo
from pathcast.detection.yolox_import import TOP_K, read_yolox, to_served
from pathcast.export.detector import compare, to_served_onnx
from pathcast.export.parity import open_session
from pathcast.export.quantize import quantise_detector
from pathcast.tracking.mot_format import read_boxes, read_sequence_info
from pathcast.training.detector import prepare_images
from pathcast.training.detector_data import read_prepared
from pathcast.training.detector_task import keras_predictor
from pathcast.training.predictors import onnx_predictor

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data"))
DETECTORS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["detector"]
FLOORS = DETECTORS["yolox_nano"]
SHIPPED = ROOT / "model_repo" / "detector" / "1" / "model.onnx"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = DATA / "models" / "yolox_nano.onnx"
    if not source.is_file():
        pytest.skip(f"{source} is not there (PATHCAST_DATA names the data folder)")
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(to_served(read_yolox(source)), str(path))
    return path


@pytest.mark.parametrize("data", sorted(FLOORS))
def test_average_precision_at_the_served_settings(data: str, model: Path, tmp_path: Path) -> None:
    if not (DATA / data).is_dir():
        pytest.skip(f"{DATA / data} is not there (PATHCAST_DATA names the data folder)")
    target = tmp_path / "scores.json"
    arguments = ["evaluate", "detector", "--data", DATA / data, "--model", model, "--json", target]
    arguments += ["--score-threshold", SCORE_THRESHOLD, "--nms-iou", NMS_IOU]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    scores = json.loads(target.read_text())
    floors = FLOORS[data]
    assert scores["images"] == floors["images"]
    assert scores["classes"]["person"]["ap50"] >= floors["person_ap50"]
    assert scores["map50_95"] >= floors["map50_95"]


def test_more_cells_before_suppression_gain_nothing_and_a_third_costs_points(tmp_path: Path) -> None:
    source, data = DATA / "models" / "yolox_nano.onnx", DATA / "coco128"
    if not source.is_file() or not data.is_dir():
        pytest.skip(f"{source} or {data} is not there (PATHCAST_DATA names the data folder)")
    ap50 = {}
    for top_k in (TOP_K // 3, TOP_K, 1000):
        path, target = tmp_path / f"{top_k}.onnx", tmp_path / f"{top_k}.json"
        onnx.save(to_served(read_yolox(source), top_k=top_k), str(path))
        arguments = ["evaluate", "detector", "--data", data, "--model", path, "--json", target]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        ap50[top_k] = json.loads(target.read_text())["map50"]
    assert ap50[TOP_K] >= ap50[1000] - 0.001
    assert ap50[TOP_K // 3] <= ap50[TOP_K] - 0.015


def test_the_shipped_detector_on_the_half_of_a_clip_that_it_did_not_learn_from() -> None:
    clip, sequence = DATA / "pets09_s2l1" / "vtest.avi", DATA / "pets09_s2l1" / "mot15"
    if not clip.is_file():
        pytest.skip(f"{clip} is not there (PATHCAST_DATA names the data folder)")
    session = open_session(SHIPPED, threads=2)
    info = read_sequence_info(sequence)
    truth = sequence_truth(read_boxes(sequence / "gt" / "gt.txt", length=info.length, identified=True), info.length)
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
    first = info.length - DETECTORS["shipped"]["images"]
    batch, found = np.empty((1, 320, 416, 3), np.uint8), []
    for number in range(info.length):
        image = capture.read()[1]
        if number < first:
            continue
        fit = letterbox(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), batch[0])
        boxes, scores, classes = session.run(["boxes", "scores", "classes"], {"images": batch})
        found.append(to_detections(boxes[0], scores[0], classes[0], fit))
    capture.release()
    person = average_precision(found, truth[first:]).classes["person"]
    assert person.ap50 >= DETECTORS["shipped"]["person_ap50"]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledImages, LabelledImages]:
    """Of the clip, images to calibrate with, of its first half, and every fourth of the second to judge by."""
    clip = DATA / "pets09_s2l1"
    if not clip.is_dir():
        pytest.skip(f"{clip} is not there (PATHCAST_DATA names the data folder)")
    folder = tmp_path_factory.mktemp("halves")
    prepare_images(clip, folder, {"val": 0.08, "test": 0.5, "gap_s": 1})
    judged = read_prepared(folder, "test")
    return read_prepared(folder, "train"), replace(judged, images=judged.images[::4])


def test_the_shipped_detector_is_accepted_in_eight_bits(
    halves: tuple[LabelledImages, LabelledImages],
) -> None:
    small = quantise_detector(SHIPPED, *halves)
    small.require_accepted()
    figures = small.figures()
    assert figures["map50"] >= figures["map50_float32"] - 0.01
    assert figures["map50_95"] >= figures["map50_95_float32"] - 0.01


def test_eight_bits_that_cost_more_than_a_point_are_refused(
    halves: tuple[LabelledImages, LabelledImages], tmp_path: Path
) -> None:
    # Scales of dark pictures are far too small for bright ones.
    cv2.imwrite(str(tmp_path / "dark.png"), np.full((576, 768, 3), 2, np.uint8))
    dark = LabelledImages(tmp_path, (LabelledImage("dark.png", 768, 576),))
    small = quantise_detector(SHIPPED, dark, halves[1])
    assert not small.figures()["accepted"]
    with pytest.raises(GateFailedError, match="int8: expected drops of at most 0.01 on 100 images, got"):
        small.require_accepted()


def test_published_weights_in_keras_do_what_the_published_file_does() -> None:
    source, data = DATA / "models" / "yolox_nano.onnx", DATA / "coco128"
    if not source.is_file() or not data.is_dir():
        pytest.skip(f"{source} or {data} is not there (PATHCAST_DATA names the data folder)")
    published = read_yolox(source)
    network = load_yolox(published.model.graph, replace(SIZES["nano"], normalised=False))
    served = onnx_predictor(to_served(published).SerializeToString())
    differences = compare(served, keras_predictor(network), read_yolo(data), (published.width, published.height))
    print(f"published weights in Keras on coco128: {differences}")
    assert differences["box_difference_px"] <= 0.05
    assert differences["score_difference"] <= 1e-4
    assert differences["map50_difference"] <= 0.002
    assert differences["map50_95_difference"] <= 0.002


def test_published_weights_exported_from_keras_give_what_the_published_file_gives(tmp_path: Path) -> None:
    path, video = DATA / "models" / "yolox_nano.onnx", DATA / "pets09_s2l1" / "vtest.avi"
    if not (path.is_file() and video.is_file()):
        pytest.skip(f"{path} or {video} is not there (PATHCAST_DATA names the data folder)")
    capture = cv2.VideoCapture(str(video))
    frames = []
    for index in range(0, 720, 120):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    source = read_yolox(path)
    settings = replace(SIZES["nano"], normalised=False)
    network = load_yolox(source.model.graph, settings)
    served = to_served_onnx(network)
    onnx.save(served, str(tmp_path / "model.onnx"))
    again, read = read_served(tmp_path / "model.onnx")
    assert read == settings
    for wanted, got in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)
    # Batches differ in the last bits between sizes here and there; boxes and scores must not.
    parity = check_parity(source, served.SerializeToString(), frames, "vtest.avi")
    assert parity.frames == 6
    assert parity.max_box_difference_px <= BOX_TOLERANCE_PX
    assert parity.max_score_difference <= SCORE_TOLERANCE
    outputs = {value.name: value.type.tensor_type for value in served.graph.output}
    assert list(outputs) == ["boxes", "scores", "classes"]
    assert outputs["classes"].elem_type == onnx.TensorProto.INT64
    assert [size.dim_value for size in outputs["boxes"].shape.dim][1:] == [300, 4]
    given = served.graph.input[0]
    assert given.name == "images"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [size.dim_value for size in given.type.tensor_type.shape.dim][1:] == [416, 416, 3]
    assert np.isfinite(parity.max_box_difference_px)
