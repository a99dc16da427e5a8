"""The detector as a model family. TensorFlow is imported by the parts that need it: most steps of a pipeline do not."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.core.trained_model import TrainedModel
from pathcast.detection.average_precision import average_precision
from pathcast.detection.classes import class_ids_with
from pathcast.detection.resampled_precision import ResampledPrecision
from pathcast.detection.samples import InputSize, fitted
from pathcast.detection.settings import SIZES, DetectorSettings
from pathcast.monitoring.definition import Monitoring
from pathcast.monitoring.signals import APPEARANCE, BOX_HEIGHT, BRIGHTNESS, OBJECTS, SCORE, SHARPNESS
from pathcast.training.detector_data import SELECTION, SplitSettings, prepare, read_prepared, runs
from pathcast.training.family import Arrays, Evaluation, Family, Gate, ReplayGate, Selection
from pathcast.training.labelling import LabellingSettings
from pathcast.training.options import check_values
from pathcast.training.predictors import detect, onnx_predictor
from pathcast.training.recordings import read_recordings
from pathcast.training.settings import TrainingSettings
from pathcast.training.teachers import find_teacher, teacher_name

if TYPE_CHECKING:
    import keras

    from pathcast.training.detector_task import DetectorTask

_LOG = logging.getLogger(__name__)

SHIPPED = DetectorSettings(
    width=0.1875, depth=0.33, depthwise=False, activation="relu", input_width=416, input_height=320
)
"""What the platform ships: at 4:3 it sees as many pixels of a frame as YOLOX-nano at its 416, in less time."""

SAMPLING: Mapping[str, Any] = {"samples": 800, "boxes": 40, "learn": "all", "balance": 0.5, "camera_weights": {}}
"""How an epoch is drawn from the training images, and what is learned from it; see `DetectorTask`."""

_EXPORT_FRAMES = 64
_EXAMPLES = 4
_RUNS = 20
"""Of held-out images that the metric gate draws; at least that many images have one each."""


def prepare_images(source: Path, folder: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a prepared folder from whatever `read_recordings` knows at or below `source`.

    Options: those of `SplitSettings`; `teacher`, a detector that labels videos (`find_teacher`); those of
    `LabellingSettings`; `without`, names of sets to leave out; `classes`, the platform's class by a label's other name.
    What is left out or assumed is logged, and in the card.
    """
    split_names, label_names = ({entry.name for entry in fields(kind)} for kind in (SplitSettings, LabellingSettings))
    others: dict[str, Any] = {"classes": {}, "teacher": None, "without": ()}
    check_values("detector data", options, {**asdict(SplitSettings()), **asdict(LabellingSettings()), **others})
    shares: dict[str, Any] = {name: options[name] for name in split_names & set(options)}
    rules = SplitSettings(**{**shares, "held_out": _names(options.get("held_out", ()))})
    labelling = LabellingSettings(**{"every": 5, **{key: options[key] for key in label_names & set(options)}})
    teacher, classes = options.get("teacher"), options.get("classes", {})
    class_of = class_ids_with(classes)
    notes: list[str] = []

    def note(text: str) -> None:
        _LOG.warning(text)
        notes.append(text)

    sets = read_recordings(
        source,
        folder / "images",
        teacher=None if teacher is None else find_teacher(Path(str(teacher))),
        labelling=labelling,
        without=_names(options.get("without", ())),
        class_of=class_of,
        note=note,
        go_on=True,
    )
    about: dict[str, Any] = {"source": str(source), **({"classes": dict(classes)} if classes else {})}
    if teacher is not None:
        about |= {"teacher": teacher_name(Path(str(teacher))), "labelling": asdict(labelling)}
    if (source / SELECTION).is_file():
        about = json.loads((source / SELECTION).read_text(encoding="utf-8"))
    return prepare(sets, folder, rules, about={**about, "notes": notes})


def task(folder: Path, settings: Mapping[str, Any]) -> DetectorTask:
    """The training job on a prepared folder; `settings` are the network's and those of `SAMPLING`."""
    from pathcast.training.detector_task import DetectorTask

    network, sampling = _parted(settings)
    weights = sampling.pop("camera_weights")
    train, val = (read_prepared(folder, part) for part in ("train", "val"))
    return DetectorTask(train, val, network, weights=weights, **sampling)


def build(settings: Mapping[str, Any]) -> keras.Model:
    """A fresh network with its served signature."""
    from pathcast.detection.model import build_detector, serving_model

    return serving_model(build_detector(_parted(settings)[0]))


def published_weights(file: Path, size: str, embedding: int = 0) -> TrainedModel:
    """A YOLOX ONNX file as a trained model to start from; its normalisation is folded in and stays so.

    With `embedding`, it gets a fresh branch for appearance vectors of that length.
    """
    from pathcast.detection.weights import load_yolox
    from pathcast.detection.yolox_import import read_yolox
    from pathcast.training.network import read_weights

    if size not in SIZES:
        raise InvalidInputError(f"size {size!r}: expected one of {', '.join(SIZES)}")
    source = read_yolox(file)
    settings = replace(
        SIZES[size], normalised=False, input_width=source.width, input_height=source.height, embedding=embedding
    )
    model = load_yolox(source.model.graph, settings)
    record = {"source": file.name, "note": "published weights of YOLOX, trained on COCO, cut to the platform's classes"}
    return TrainedModel("detector", {**settings.as_mapping(), **SAMPLING}, read_weights(model), record)


def served_weights(file: Path) -> TrainedModel:
    """What a served file holds, as a trained model to start from; see `read_served`."""
    from pathcast.detection.served_weights import read_served
    from pathcast.training.network import read_weights

    model, settings = read_served(file)
    return TrainedModel(
        "detector", {**settings.as_mapping(), **SAMPLING}, read_weights(model), {"source": f"the served {file.name}"}
    )


def _select(settings: PlatformSettings, folder: Path, wanted: Selection) -> Mapping[str, Any]:
    # Platform clients: a training on files needs none of them.
    from pathcast.training.detector_selection import select_frames

    return select_frames(settings, folder, wanted)


def _illustrate(model: keras.Model, folder: Path, target: Path) -> None:
    from pathcast.training.detector_pictures import write_plots, write_samples
    from pathcast.training.detector_task import keras_predictor

    held_out = read_prepared(folder, "val")
    _, height, width, _ = model.inputs[0].shape
    found = detect(keras_predictor(model), held_out, (width, height))
    write_plots(target, found, [image.truth() for image in held_out])
    write_samples(target / "samples.png", held_out, found)


def _export(model: keras.Model, folder: Path, target: Path) -> Mapping[str, float]:
    # The exporter's imports take seconds, and most workers never export.
    from pathcast.export.detector import write_detector

    held_out = read_prepared(folder, "val")
    step = max(len(held_out) // _EXPORT_FRAMES, 1)
    chosen = {image.name for image in held_out.images[::step]}
    return write_detector(model, held_out.where(lambda image: image.name in chosen), target)


def _in_order_of(expected: Arrays, got: Arrays) -> Arrays:
    from pathcast.export.detector import in_order_of

    return in_order_of(expected, got)


def _evaluate(onnx_file: Path, folder: Path) -> Evaluation:
    labelled = read_prepared(folder, "test")
    found = detect(onnx_predictor(onnx_file), labelled, _input_size(onnx_file))
    truth = [image.truth() for image in labelled]
    scores = average_precision(found, truth)
    metrics = {"map50": scores.map50, "map50_95": scores.map50_95}
    metrics |= {f"{name}_ap50": value.ap50 for name, value in scores.classes.items()}

    groups = runs(labelled, _RUNS)
    return Evaluation(metrics, len(labelled), ResampledPrecision(found, truth).map50, groups=groups)


def _examples(onnx_file: Path, folder: Path) -> Arrays:
    labelled, size = read_prepared(folder, "val"), _input_size(onnx_file)
    return {"images": np.stack([fitted(labelled, image, size).pixels for image in labelled.images[:_EXAMPLES]])}


def _input_size(onnx_file: Path) -> InputSize:
    from pathcast.export.parity import open_session

    _, height, width, _ = open_session(onnx_file).get_inputs()[0].shape
    return width, height


def _parted(settings: Mapping[str, Any]) -> tuple[DetectorSettings, dict[str, Any]]:
    sampling = {name: settings.get(name, value) for name, value in SAMPLING.items()}
    return DetectorSettings.from_mapping({k: v for k, v in settings.items() if k not in SAMPLING}), sampling


def _names(value: Any) -> tuple[str, ...]:
    """A list of names, or one text with commas, as a command line gives it."""
    return tuple(value.split(",")) if isinstance(value, str) else tuple(value)


FAMILY = Family(
    name="detector",
    summary="people and vehicles in a frame: YOLOX, from random weights or from published ones",
    prepare=prepare_images,
    build=build,
    task=task,
    export=_export,
    evaluate=_evaluate,
    examples=_examples,
    in_order_of=_in_order_of,
    illustrate=_illustrate,
    gate=Gate(metric="map50", higher_is_better=True, tolerance=0.01, latency_ms=60.0),
    settings={**SHIPPED.as_mapping(), **SAMPLING},
    sampling=SAMPLING.keys(),
    select=_select,
    training=TrainingSettings(
        epochs=28,
        batch_size=8,
        learning_rate=1.5e-3,
        weight_decay=5e-3,
        clip_norm=10.0,
        ema=0.995,
        patience=1000,
        checkpoint_steps=25,
    ),
    weights_of=served_weights,
    fine_tuning={"epochs": 3, "learning_rate": 2e-4},
    monitoring=Monitoring(signals=(BRIGHTNESS, SHARPNESS, OBJECTS, BOX_HEIGHT, SCORE, APPEARANCE)),
    replay=ReplayGate("detector", tolerance=0.1, least_kept=0.8),
)
