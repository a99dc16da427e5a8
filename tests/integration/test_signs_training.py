"""Three signs are learned, exported, put into eight bits and told apart by the served file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.gtsrb import write_gtsrb

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from pathcast.core.errors import GateFailedError
from pathcast.core.trained_model import TrainedModel
from pathcast.export import signs as sign_export
from pathcast.export.parity import open_session
from pathcast.export.signs import quantise_signs, write_signs
from pathcast.export.triton_config import check_config
from pathcast.recognition.sign_augmentation import SignAugmentation, centre
from pathcast.recognition.sign_settings import SignSettings
from pathcast.serving.classifiers import FileClassifier
from pathcast.training.family import find_family
from pathcast.training.lifecycle import check_parity
from pathcast.training.loop import fit
from pathcast.training.network import read_weights
from pathcast.training.prepared import prepare
from pathcast.training.settings import TrainingSettings
from pathcast.training.signs import LEARNING
from pathcast.training.signs_data import read_signs
from pathcast.training.signs_task import SignsTask

STILL = SignAugmentation(**dict.fromkeys(SignAugmentation.__dataclass_fields__, 0.0))
TRAINING = TrainingSettings(epochs=7, batch_size=12, learning_rate=1e-2, weight_decay=0.0, ema=0.5, clip_norm=10.0)


def test_signs_are_learned_and_survive_the_export_and_eight_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = find_family("signs")
    raw = write_gtsrb(tmp_path / "raw", (1, 14, 24), tracks=6, frames=5, test=4)
    folder = prepare(family, raw, tmp_path / "data").folder
    train, val = read_signs(folder, "train"), read_signs(folder, "val")
    settings = SignSettings(channels=8, blocks=(1, 1), dropout=0.0)
    result = fit(SignsTask(train, val, settings, smoothing=0.0, augmentation=STILL), TRAINING)
    assert result.start["accuracy"] < 0.7
    assert result.best is not None
    assert result.best.figures["accuracy"] >= 0.9
    assert {"score", "balanced_accuracy", "macro_f1", "calibration_error"} <= set(result.best.figures)

    target = tmp_path / "repo"
    differences = write_signs(result.model, centre(val.images), target)
    assert differences["probabilities"] <= 1e-4
    file = target / "1" / "model.onnx"
    check_config((target / "config.pbtxt").read_text(), file)
    assert "end of no overtaking by lorries" in (target / "config.pbtxt").read_text()
    names = {"settings": {**settings.as_mapping(), **LEARNING}, "weights": read_weights(result.model)}
    TrainedModel("signs", **names).save(tmp_path / "trained")
    assert check_parity("signs", tmp_path / "trained", target, folder).passed
    evaluation = family.evaluate(file, folder)
    assert evaluation.samples == 12
    assert evaluation.metrics["accuracy"] >= 0.9
    everything = np.arange(evaluation.samples)
    assert evaluation.metric_of(everything) == pytest.approx(evaluation.metrics["balanced_accuracy"])
    examples = family.examples(file, folder)["images"]
    assert open_session(file).run(["probabilities"], {"images": examples})[0].shape == (len(examples), 43)

    small = quantise_signs(file, tmp_path / "int8", centre(train.images), centre(val.images), val.labels)
    assert small["accuracy"] >= small["accuracy_float32"] - sign_export.ACCURACY_DROP
    images = centre(val.images)
    here, there = (
        FileClassifier(path / "1" / "model.onnx").classify(images)[0] for path in (target, tmp_path / "int8")
    )
    assert 0 < np.abs(here - there).max() < 0.3
    weights = onnx.load(str(tmp_path / "int8" / "1" / "model.onnx")).graph.initializer
    in_eight_bits = {each.name for each in weights if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4}
    assert len(in_eight_bits) == 6
    assert not [name for name in in_eight_bits if "window" in name]

    monkeypatch.setattr(sign_export, "ACCURACY_DROP", -1.0)
    with pytest.raises(GateFailedError, match="int8: expected to lose at most"):
        quantise_signs(file, tmp_path / "refused", centre(train.images), images, val.labels)
    assert not (tmp_path / "refused").exists()


def test_a_file_that_differs_from_the_network_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = find_family("signs").build({**find_family("signs").settings, "channels": 4, "blocks": [1]})
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    monkeypatch.setattr(sign_export, "PARITY_TOLERANCE", {"probabilities": -1.0})
    with pytest.raises(GateFailedError, match="parity"):
        write_signs(network, images, tmp_path / "repo")
    assert not (tmp_path / "repo").exists()
