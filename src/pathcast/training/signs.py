"""The sign classifier as a family. TensorFlow is imported by the parts that need it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathcast.monitoring.definition import Monitoring
from pathcast.monitoring.signals import KINDS, SURENESS
from pathcast.recognition.sign_augmentation import centre
from pathcast.recognition.sign_classes import CLASS_NAMES
from pathcast.recognition.sign_settings import SignSettings
from pathcast.training.classifiers import by_rule, choices, judge
from pathcast.training.family import Evaluation, Family, Gate
from pathcast.training.search_space import TRAINING, Choice, Real
from pathcast.training.settings import TrainingSettings
from pathcast.training.signs_data import prepare, read_signs

if TYPE_CHECKING:
    import keras

    from pathcast.training.loop import Task

LEARNING: Mapping[str, Any] = {"loss": None, "balance": None, "smoothing": 0.1}
"""`loss` and `balance` by the rules of `pathcast.recognition.choices` where None."""


def build(settings: Mapping[str, Any]) -> keras.Model:
    """A fresh network with its served signature."""
    from pathcast.recognition.sign_model import build_signs, served

    return served(build_signs(_network(settings)))


def _fitted_settings(folder: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return by_rule(settings, choices(folder, FAMILY))


def _task(folder: Path, settings: Mapping[str, Any]) -> Task:
    from pathcast.training.signs_task import SignsTask

    return SignsTask(
        read_signs(folder, "train"),
        read_signs(folder, "val"),
        _network(settings),
        loss_name=settings["loss"],
        balance=settings["balance"],
        smoothing=settings["smoothing"],
    )


def _export(model: keras.Model, folder: Path, target: Path) -> Mapping[str, float]:
    from pathcast.export.signs import write_signs

    return write_signs(model, centre(read_signs(folder, "val").images), target)


def _evaluate(onnx_file: Path, folder: Path) -> Evaluation:
    from pathcast.serving.classifiers import FileClassifier

    held_out = read_signs(folder, "test")
    probabilities, _ = FileClassifier(onnx_file).classify(centre(held_out.images))
    return judge(probabilities, held_out.labels, CLASS_NAMES, choices(folder, FAMILY), held_out.tracks)


def _network(settings: Mapping[str, Any]) -> SignSettings:
    return SignSettings.from_mapping({name: value for name, value in settings.items() if name not in LEARNING})


FAMILY = Family(
    name="signs",
    summary="43 traffic signs of the German benchmark: a spatial transformer and a small residual network",
    prepare=prepare,
    build=build,
    task=_task,
    export=_export,
    evaluate=_evaluate,
    examples=lambda onnx_file, folder: {"images": centre(read_signs(folder, "val").images[:8])},
    gate=Gate(metric="balanced_accuracy", higher_is_better=True, tolerance=0.005, latency_ms=16.0, batch=16),
    settings={**SignSettings().as_mapping(), **LEARNING},
    fitted_settings=_fitted_settings,
    search={
        **TRAINING,
        "channels": Choice((16, 24, 32, 48)),
        "dropout": Real(0.0, 0.5),
        "smoothing": Real(0.0, 0.2),
    },
    training=TrainingSettings(
        epochs=30, batch_size=64, learning_rate=2e-3, weight_decay=2e-2, clip_norm=5.0, ema=0.995, patience=1000
    ),
    monitoring=Monitoring(signals=(SURENESS, KINDS)),
)
