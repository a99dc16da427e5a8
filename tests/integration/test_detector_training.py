"""A detector learns 16 images and who is on them by heart, is exported, and gives the same as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from support.shared_validation import validated_by

from pathcast.core.boxes import intersection_over_union
from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.model import build_detector
from pathcast.detection.served_weights import read_served
from pathcast.detection.settings import DetectorSettings
from pathcast.detection.weights import without_normalisation
from pathcast.export.detector import write_detector
from pathcast.export.quantize import quantise_detector
from pathcast.serving.local_models import FileDetector
from pathcast.training.detector_task import LOOKS, DetectorTask
from pathcast.training.loop import fit
from pathcast.training.network import assign_weights, read_weights
from pathcast.training.predictors import evaluate_network, onnx_predictor
from pathcast.training.settings import TrainingSettings
from pathcast.training.step import moving_statistics

NETWORK = DetectorSettings(
    0.125, 0.33, depthwise=False, activation="relu", input_width=160, input_height=128, embedding=16
)
IMAGES = 16
COLOURS = np.array([[250, 160, 160], [160, 250, 160], [160, 160, 250], [250, 250, 160], [250, 160, 250], [240] * 3])
"""By which the objects, wherever they stand, are known."""
SEED = 11


def scenes(folder: Path) -> LabelledImages:
    """Standing figures and lying boxes on textured ground: two classes told apart by shape, objects by colour."""
    random = np.random.default_rng(SEED)
    found = []
    for number in range(IMAGES):
        ground = random.integers(60, 140, (16, 20, 3), dtype=np.uint8)
        pixels = cv2.resize(ground, (160, 128), interpolation=cv2.INTER_CUBIC)
        boxes, classes = [], []
        places = random.permutation(6)[: random.integers(2, 5)]
        objects = random.permutation(len(COLOURS))[: len(places)]
        for place, identity in zip(places, objects, strict=True):
            kind = int(random.integers(2))
            width, height = (random.integers(12, 18), random.integers(32, 46))
            if kind:
                width, height = height, width
            left = 4 + 52 * (place % 3) + random.integers(0, 52 - width)
            top = 6 + 60 * (place // 3) + random.integers(0, 60 - height)
            colour = COLOURS[identity].tolist()
            cv2.rectangle(pixels, (left, top), (left + width - 1, top + height - 1), colour, -1)
            boxes.append([left, top, left + width, top + height])
            classes.append(2 * kind)
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        found.append(LabelledImage(name, 160, 128, boxes, classes, track_ids=objects))
    return LabelledImages(folder, tuple(found))


def cosines(detector: FileDetector, labelled: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    """How alike the served detections of one object, and of two, look in different images."""
    vectors, names, pictures = [], [], []
    for number, image in enumerate(labelled):
        (found,), _ = detector.detect([labelled.read(image)])
        assert found.embeddings is not None
        overlaps = intersection_over_union(np.array(image.xyxy), found.xyxy.astype(np.float64))
        for row in np.flatnonzero(overlaps.max(axis=1) > 0.6):
            vectors.append(found.embeddings[overlaps[row].argmax()])
            names.append(image.track_ids[row])
            pictures.append(number)
    alike = np.array(vectors) @ np.array(vectors).T
    same = np.equal.outer(names, names)
    apart = np.triu(~np.equal.outer(pictures, pictures))
    return alike[same & apart], alike[~same & apart]


@pytest.mark.timeout(900)
def test_sixteen_images_and_who_is_on_them_are_learned_by_heart_and_survive_the_export(tmp_path: Path) -> None:
    labelled = scenes(tmp_path)
    task = DetectorTask(labelled, labelled, NETWORK, samples=400, boxes=8)
    training = TrainingSettings(
        epochs=12, batch_size=8, learning_rate=1e-2, weight_decay=0.0, clip_norm=10.0, ema=0.95, patience=100
    )
    result = fit(task, training)
    assert result.best is not None
    figures = result.best.figures
    assert result.start["map50"] < 0.1
    assert result.reports[-1].loss < 0.85 * result.reports[0].loss
    assert figures["map50"] >= 0.95, figures
    for shared in validated_by(3, task, result.model):
        assert shared == pytest.approx(dict(figures), abs=1e-5)
    differences = write_detector(result.model, labelled, tmp_path / "detector")
    assert differences["map50_difference"] <= 0.002
    served = evaluate_network(onnx_predictor(tmp_path / "detector" / "1" / "model.onnx"), labelled, (160, 128))
    assert served.map50 == pytest.approx(figures["map50"], abs=0.002)
    assert (tmp_path / "detector" / "config.pbtxt").is_file()
    file = tmp_path / "detector" / "1" / "model.onnx"
    again, settings = read_served(file)
    assert settings == replace(NETWORK, normalised=False)
    # By name: the order of a network's branches is not that of its rebuilt copy.
    wanted, got = (
        {each.path: each.numpy() for each in network.weights}
        for network in (without_normalisation(result.model), again)
    )
    assert wanted.keys() == got.keys()
    for path, values in wanted.items():
        np.testing.assert_array_equal(got[path], values, err_msg=path)
    same, different = cosines(FileDetector(file), labelled)
    assert len(same) > 50
    # By chance it would be a half.
    assert (same[:, None] > different).mean() > 0.8
    assert np.median(same) > np.median(different) + 0.1
    # Boxes of a network this small move by a pixel in eight bits, which AP50-95 of 16 images shows.
    small = quantise_detector(file, labelled, labelled)
    small.require_accepted(map_drop=0.03)
    assert small.map50 >= small.map50_before - 0.01
    assert len(small.model.SerializeToString()) < 0.5 * file.stat().st_size
    with pytest.raises(GateFailedError, match="int8: expected drops of at most -1"):
        small.require_accepted(map_drop=-1.0)


@pytest.mark.timeout(900)
def test_looks_are_learned_alone_and_what_finds_the_objects_stays_to_the_bit(tmp_path: Path) -> None:
    labelled = scenes(tmp_path)
    task = DetectorTask(labelled, labelled, NETWORK, samples=240, boxes=8, learn=LOOKS)
    training = TrainingSettings(epochs=2, batch_size=8, learning_rate=3e-3, ema=0.9)
    keras.utils.set_random_seed(training.seed)
    given = task.build()
    # What neither learns nor moves need not travel between workers, where a mean would round it.
    assert {variable.path.split("_")[0] for variable in moving_statistics(given)} == {"emb"}
    result = fit(task, training)
    assert result.best is not None
    assert result.best.figures["score"] < result.start["score"] - 0.1
    before, after = ({each.path: each.numpy() for each in model.weights} for model in (given, result.model))
    changed = {path.split("_")[0] for path, values in after.items() if not np.array_equal(values, before[path])}
    assert changed == {"emb"}


BRIEF = TrainingSettings(
    epochs=2, batch_size=8, learning_rate=3e-3, ema=0.9, patience=100, accumulate=2, checkpoint_steps=1
)


def values_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in model.variables}


@pytest.mark.timeout(900)
def test_in_bfloat16_the_detector_learns_in_float32_weights(tmp_path: Path) -> None:
    labelled = scenes(tmp_path)
    task = DetectorTask(labelled, labelled, NETWORK, samples=160, boxes=8)
    result = fit(task, replace(BRIEF, precision="bfloat16", learning_rate=1e-2))
    assert result.model.get_layer("stem").compute_dtype == "bfloat16"
    assert {str(variable.dtype) for variable in result.model.trainable_variables} == {"float32"}
    assert result.reports[-1].loss < 0.95 * result.reports[0].loss
    plain = build_detector(NETWORK)
    assign_weights(plain, read_weights(result.model))
    images = np.stack([labelled.read(image) for image in labelled.images[:4]])
    full, half = (model(images, training=False)["boxes"] for model in (plain, result.model))
    # Eight bits of mantissa: a pixel or two of 160, not another network.
    assert half.dtype.name == "float32"
    assert np.median(np.abs(np.asarray(full) - np.asarray(half))) < 2.0


@pytest.mark.timeout(900)
def test_a_training_of_looks_that_was_broken_off_goes_on_to_the_bit(tmp_path: Path) -> None:
    """A detector that is killed by SIGKILL is in `test_training.py`."""

    class BrokenOff(Exception):
        pass

    def stop(done: int, steps: int) -> None:
        if done == 3:
            raise BrokenOff

    labelled = scenes(tmp_path)
    task = DetectorTask(labelled, labelled, NETWORK, samples=16, boxes=8, learn=LOOKS)
    whole = fit(task, BRIEF)
    checkpoint = tmp_path / "checkpoint.npz"
    with pytest.raises(BrokenOff):
        fit(task, BRIEF, checkpoint=checkpoint, on_step=stop)
    again = fit(task, BRIEF, checkpoint=checkpoint, resume=True)
    assert [report.loss for report in again.reports] == [report.loss for report in whole.reports]
    assert [dict(report.figures) for report in again.reports] == [dict(report.figures) for report in whole.reports]
    expected, got = values_of(whole.model), values_of(again.model)
    assert expected.keys() == got.keys()
    for path, values in expected.items():
        np.testing.assert_array_equal(got[path], values, err_msg=path)


def test_looks_cannot_be_learned_alone_without_their_branch(tmp_path: Path) -> None:
    nothing = LabelledImages(tmp_path)
    with pytest.raises(InvalidInputError, match="no branch for appearance vectors"):
        DetectorTask(nothing, nothing, replace(NETWORK, embedding=0), learn=LOOKS)
    with pytest.raises(InvalidInputError, match="learn: expected all or looks, got 'boxes'"):
        DetectorTask(nothing, nothing, NETWORK, learn="boxes")
