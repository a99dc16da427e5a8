"""The actions family through its definition: data in, a trained network, an ensemble's folder out.

A tiny backbone stands for the pretrained one, which tests/integration/test_actions_lifecycle.py takes.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.core.trained_model import TrainedModel
from pathcast.export.actions import ACCURACY_DROP, ask_fp16, quantise_actions, write_actions
from pathcast.export.ensemble import CONFIG, part_folder, part_names
from pathcast.export.gpu_config import gpu_config
from pathcast.export.onnx import to_onnx
from pathcast.export.parity import open_session
from pathcast.export.triton_config import parse_config
from pathcast.recognition.action_settings import FRAMES, PROBABILITIES, SCORES
from pathcast.recognition.clip_store import read_clips
from pathcast.training.actions import FAMILY, build, network_settings
from pathcast.training.network import assign_weights
from pathcast.training.prepared import PreparedData, prepare
from pathcast.training.train_family import Job, train_family
from tests.support.clips import write_strips

SMALL = {"glance": 16, "input_size": 32, "selected": 3, "units": 8, "variants": 2, "epochs": 6, "batch_size": 8}


pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture(scope="module")
def trained(small_backbone: None, clips: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train_family(Job.of(FAMILY, clips, tmp_path_factory.mktemp("trained"), SMALL))


@pytest.fixture(scope="module")
def exported(trained: TrainedModel, clips: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build(trained.settings)
    assign_weights(network, trained.weights)
    target = tmp_path_factory.mktemp("exported")
    FAMILY.export(network, clips.folder, target)
    return target


def test_a_model_of_before_the_learned_share_keeps_the_half_it_learned_with() -> None:
    assert network_settings({"classes": ["a", "b"]}).learned == 0.5
    assert network_settings({"classes": ["a", "b"], "learned": 0.2}).learned == 0.2


def test_settings_follow_from_the_data(clips: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("stay 1 0\nwander 0 1\n")
    job = Job.of(FAMILY, clips, tmp_path, {**SMALL, "glove": str(tmp_path / "glove.txt")})
    assert job.settings["classes"] == ["stay", "wander"]
    assert (job.settings["frames"], job.settings["size"]) == (6, 32)
    assert (job.settings["loss"], job.settings["balance"]) == ("cross_entropy", 1.0)
    assert job.settings["word_vectors"] == [[1.0, 0.0], [0.0, 1.0]]
    assert job.settings["glove"] == "glove.txt"
    assert Job.of(FAMILY, clips, tmp_path, {**SMALL, "loss": "focal"}).settings["loss"] == "focal"


def test_the_network_learns_to_tell_what_moves(trained: TrainedModel) -> None:
    losses = trained.record["losses"]
    assert losses[-1] < 0.8 * losses[0]
    assert trained.record["val"]["balanced_accuracy"] >= 0.75


def test_the_parts_compute_what_the_whole_does(exported: Path, clips: PreparedData) -> None:
    config = (exported / "config.pbtxt").read_text()
    assert part_names(config) == ["frame_selector", "action_recogniser"]
    frames = FAMILY.examples(exported / "1" / "model.onnx", clips.folder)[FRAMES]
    whole = dict(
        zip(
            (PROBABILITIES, SCORES),
            open_session(exported / "1" / "model.onnx").run([PROBABILITIES, SCORES], {FRAMES: frames}),
            strict=True,
        )
    )
    selector, recogniser = (
        open_session(part_folder(exported, name) / "1" / "model.onnx") for name in part_names(config)
    )
    (scores,) = selector.run(None, {FRAMES: frames})
    (probabilities,) = recogniser.run(None, {FRAMES: frames, SCORES: scores})
    assert np.allclose(scores, whole[SCORES], atol=1e-6)
    assert np.allclose(probabilities, whole[PROBABILITIES], atol=1e-6)
    light = onnx.load(exported / "frame_selector" / "1" / "model.onnx").graph
    assert sum(node.op_type == "Conv" for node in light.node) == 3, "the backbone is the recogniser's alone"


def test_a_gpu_is_asked_for_fp16_by_the_recogniser_alone(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "actions")
    ask_fp16(tmp_path / "actions")
    modes = {}
    for part in part_names((exported / CONFIG).read_text()):
        config = gpu_config((part_folder(tmp_path / "actions", part) / CONFIG).read_text())
        assert config is not None
        (accelerator,) = parse_config(config).optimization.execution_accelerators.gpu_execution_accelerator
        modes[part] = accelerator.parameters["precision_mode"]
    assert modes == {"frame_selector": "FP32", "action_recogniser": "FP16"}


def test_the_held_out_clips_are_scored(exported: Path, clips: PreparedData) -> None:
    evaluation = FAMILY.evaluate(exported / "1" / "model.onnx", clips.folder)
    assert evaluation.samples == clips.card["samples"]["test"]
    assert evaluation.metric == "accuracy", "the classes are even"
    assert evaluation.metric_of(np.arange(evaluation.samples)) == evaluation.metrics["accuracy"]


@pytest.mark.parametrize(("stated", "refused"), [("stay,wander", False), ("run,stay", True), (None, False)])
def test_a_file_for_other_actions_is_not_scored(
    stated: str | None, refused: bool, exported: Path, clips: PreparedData, tmp_path: Path
) -> None:
    model = onnx.load(exported / "1" / "model.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props} == {"class_names": "stay,wander", "window_s": "2"}
    onnx.helper.set_model_props(model, {} if stated is None else {"class_names": stated})
    onnx.save(model, tmp_path / "champion.onnx")
    if refused:
        with pytest.raises(InvalidInputError, match="for the actions stay, wander, got one for run, stay"):
            FAMILY.evaluate(tmp_path / "champion.onnx", clips.folder)
    else:
        assert FAMILY.evaluate(tmp_path / "champion.onnx", clips.folder).samples == clips.card["samples"]["test"]


def test_eight_bits_leave_the_selector_and_the_first_maps_alone(
    exported: Path, clips: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, train, val = exported / "1" / "model.onnx", read_clips(clips.folder, "train"), read_clips(clips.folder, "val")
    figures = quantise_actions(file, tmp_path / "int8", train.frames, val.frames, val.labels)
    assert figures["balanced_accuracy"] >= figures["balanced_accuracy_float32"] - ACCURACY_DROP
    weights = onnx.load(tmp_path / "int8" / "1" / "model.onnx").graph.initializer
    (small,) = [each for each in weights if each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 4]
    assert "deep" in small.name
    shift = [
        np.log(open_session(folder / "1" / "model.onnx").run([PROBABILITIES], {FRAMES: np.array(train.frames)})[0])
        for folder in (exported, tmp_path / "int8")
    ]
    assert np.abs((shift[1] - shift[0]).mean(axis=0)).max() < 1e-3, "rounding shifts no class"
    selectors = [
        open_session(folder / "frame_selector" / "1" / "model.onnx") for folder in (exported, tmp_path / "int8")
    ]
    here, there = (each.run([SCORES], {FRAMES: np.array(val.frames)})[0] for each in selectors)
    assert np.allclose(here, there, atol=1e-6)
    monkeypatch.setattr("pathcast.export.actions.ACCURACY_DROP", -1.0)
    with pytest.raises(GateFailedError, match="int8: expected to lose at most"):
        quantise_actions(file, tmp_path / "refused", train.frames, val.frames, val.labels)
    assert not (tmp_path / "refused").exists()


def test_a_file_that_differs_is_not_written(
    trained: TrainedModel, clips: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(trained.settings)
    other = build(trained.settings)
    assign_weights(network, trained.weights)
    monkeypatch.setattr(
        "pathcast.export.actions.to_onnx", lambda _, outputs, batch: to_onnx(other, outputs, batch=batch)
    )
    frames = FAMILY.examples(tmp_path, clips.folder)[FRAMES]
    with pytest.raises(GateFailedError):
        write_actions(network, frames, tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_for_other_actions_are_refused(trained: TrainedModel, clips: PreparedData, tmp_path: Path) -> None:
    other = {**trained.settings, "classes": ["run", "walk"]}
    job = Job.of(FAMILY, clips, tmp_path, {}, TrainedModel("actions", other, trained.weights, trained.record))
    with pytest.raises(InvalidInputError, match="expected clips of the classes run, walk, got stay, wander"):
        train_family(job)


def test_an_unreadable_clip_leaves_nothing_behind(tmp_path: Path) -> None:
    raw = write_strips(tmp_path / "raw", 6)
    (raw / "stay" / "broken.avi").write_bytes(b"not a video")
    with pytest.raises(InvalidInputError, match=r"broken\.avi"):
        prepare(FAMILY, raw, tmp_path / "data", {"frames": 6, "size": 32})
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
