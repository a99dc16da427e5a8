from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import InvalidInputError
from pathcast.serving.mp4 import Mp4Writer
from pathcast.tracking.mot_format import MotBoxes, SequenceInfo, write_boxes, write_sequence_info

pytest.importorskip("trackeval", reason="TrackEval is not installed")


def make_sequence(folder: Path, name: str, frames: int = 12) -> None:
    numbers = np.repeat(np.arange(1, frames + 1), 2)
    left = 4.0 * numbers + np.tile([0, 200], frames)
    xyxy = np.stack((left, left * 0 + 50, left + 30, left * 0 + 130), axis=1)
    for part, ids, confidences in (("gt", np.tile([1, 2], frames), 1.0), ("det", numbers * 0 - 1, 0.9)):
        (folder / name / part).mkdir(parents=True)
        write_boxes(
            folder / name / part / f"{part}.txt", MotBoxes(numbers, ids, xyxy, np.full(2 * frames, confidences))
        )
    write_sequence_info(folder / name, SequenceInfo(name, 10, frames, 640, 480))


def test_scores_are_printed_and_written_for_ours_and_the_peers(tmp_path: Path) -> None:
    pytest.importorskip("trackers", reason="the peers' library is not installed")
    make_sequence(tmp_path, "one")
    make_sequence(tmp_path, "two")
    file = tmp_path / "scores.json"
    result = CliRunner().invoke(app, ["evaluate", "tracker", "--data", str(tmp_path), "--json", str(file)])
    assert result.exit_code == 0, result.output
    trackers = json.loads(file.read_text())["trackers"]
    assert list(trackers) == ["pathcast", "SORT", "ByteTrack", "OC-SORT", "C-BIoU"]
    for name, figures in trackers.items():
        assert name in result.output
        assert set(figures["sequences"]) == {"one", "two"}
        for scores in (figures, *figures["sequences"].values()):
            assert {"hota", "mota", "idf1", "id_switches", "ms_per_update"} <= set(scores)
            assert scores["ms_per_update"] > 0
    assert trackers["pathcast"]["mota"] == 100
    assert trackers["pathcast"]["id_switches"] == 0


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    for name in ("gate [/south]", "gaps [x]"):
        make_sequence(tmp_path, name)
    result = CliRunner().invoke(
        app, ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path)], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    assert "2 sequence(s): gaps [x], gate [/south]" in result.output
    assert "gate [/south]: pathcast" in result.output


def test_missing_peers_are_skipped_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sequence(tmp_path, "one")
    for name in ("trackers", "ultralytics.trackers.byte_tracker"):
        monkeypatch.setitem(sys.modules, name, None)
    file = tmp_path / "scores.json"
    result = CliRunner().invoke(app, ["evaluate", "tracker", "--data", str(tmp_path), "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "without peers" in result.output
    assert "the extra `yolo` is not installed" in " ".join(result.output.split())
    assert list(json.loads(file.read_text())["trackers"]) == ["pathcast"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"found no seqinfo\.ini"),
        (["one", "--detections", "nowhere"], "expected detections at one of"),
        (["one", "--detections", "loud"], r"loud/det\.txt: scores: expected values in \[0, 1\]"),
        (["bare"], r"gt\.txt: expected a box that counts, found none from frame 1 on"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    make_sequence(tmp_path, "one")
    make_sequence(tmp_path, "bare")
    (tmp_path / "bare" / "gt" / "gt.txt").write_text("")
    (tmp_path / "one" / "loud").mkdir()
    (tmp_path / "one" / "loud" / "det.txt").write_text("1,-1,0,0,5,5,60,-1,-1,-1\n")
    folder, *options = arguments or ["empty"]
    result = CliRunner().invoke(app, ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path / folder), *options])
    assert result.exit_code == 1
    assert isinstance(result.exception, InvalidInputError)
    with pytest.raises(InvalidInputError, match=message):
        raise result.exception


def test_the_ground_truth_as_a_submission_scores_a_hundred(tmp_path: Path) -> None:
    make_sequence(tmp_path, "one")
    make_sequence(tmp_path, "two", frames=7)
    submission = tmp_path / "submission"
    submission.mkdir()
    for name in ("one", "two"):
        shutil.copy(tmp_path / name / "gt" / "gt.txt", submission / f"{name}.txt")
    file = tmp_path / "scores.json"
    arguments = ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path), "--results", str(submission)]
    result = CliRunner().invoke(app, [*arguments, "--json", str(file)])
    assert result.exit_code == 0, result.output
    perfect = json.loads(file.read_text())["trackers"]["submission"]
    for scores in (perfect, *perfect["sequences"].values()):
        assert (scores["hota"], scores["mota"], scores["idf1"], scores["id_switches"]) == (100, 100, 100, 0)


def test_rows_of_confidence_0_are_left_out_of_the_truth_alone(tmp_path: Path) -> None:
    make_sequence(tmp_path, "one")
    truth, submission = tmp_path / "one" / "gt" / "gt.txt", tmp_path / "submission"
    submission.mkdir()
    rows = truth.read_text().splitlines(keepends=True)
    frame, identity, *box = rows[5].split(",")
    marked = ",".join((frame, identity, *box[:4], "0", *box[5:]))
    truth.write_text("".join((*rows[:5], marked, *rows[6:])))
    # Some trackers write 0 for their confidence; to TrackEval these boxes count.
    unsure = ",".join((frame, "3", *box[:4], "0", *box[5:]))
    for name, own in (("truth", marked), ("unsure", unsure)):
        (submission / "one.txt").write_text("".join((*rows[:5], own, *rows[6:])))
        file = tmp_path / f"{name}.json"
        arguments = ["--no-peers", "--data", str(tmp_path), "--results", str(submission), "--json", str(file)]
        assert CliRunner().invoke(app, ["evaluate", "tracker", *arguments]).exit_code == 0
    scores = {name: json.loads((tmp_path / f"{name}.json").read_text())["trackers"] for name in ("truth", "unsure")}
    assert [figures["submission"]["false_positives"] for figures in scores.values()] == [0, 1]
    assert scores["truth"]["submission"]["hota"] == 100


@pytest.mark.parametrize(("kind", "false_positives"), [(1, 1), (3, 0)], ids=["a person", "a car"])
def test_other_classes_than_the_ground_truths_do_not_count(tmp_path: Path, kind: int, false_positives: int) -> None:
    make_sequence(tmp_path, "one")
    submission = tmp_path / "submission"
    submission.mkdir()
    truth = (tmp_path / "one" / "gt" / "gt.txt").read_text()
    (submission / "one.txt").write_text(f"{truth}3,77,500,10,40,30,0.9,{kind},-1\n")
    arguments = [
        "--no-peers",
        "--data",
        str(tmp_path),
        "--results",
        str(submission),
        "--json",
        str(tmp_path / "s.json"),
    ]
    result = CliRunner().invoke(app, ["evaluate", "tracker", *arguments])
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "s.json").read_text())["trackers"]["submission"]
    assert scores["false_positives"] == false_positives
    assert ("1 rows left out" in " ".join(result.output.split())) is (kind == 3)


def test_given_results_have_a_row_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sequence(tmp_path, "one")
    for name in ("pathcast", "mine"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "one" / "gt" / "gt.txt", tmp_path / name / "one.txt")
    arguments = ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path / "one"), "--json", "s.json", "--results"]
    with pytest.raises(InvalidInputError, match="pathcast is a row of its own"):
        CliRunner().invoke(app, [*arguments, str(tmp_path / "pathcast")], catch_exceptions=False)
    monkeypatch.chdir(tmp_path / "mine")
    assert CliRunner().invoke(app, [*arguments, "."]).exit_code == 0
    assert set(json.loads(Path("s.json").read_text())["trackers"]) == {"pathcast", "mine"}


def test_settings_reach_the_tracker(tmp_path: Path) -> None:
    make_sequence(tmp_path, "one")
    arguments = ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path)]
    usual = CliRunner().invoke(app, arguments)
    blind = CliRunner().invoke(app, [*arguments, "--set", "new_score=0.95"])
    for result in (usual, blind):
        assert result.exit_code == 0, result.output
    assert usual.output.splitlines()[-1].startswith("hota 9")
    assert blind.output.splitlines()[-1] == "hota 0.0"
    wrong = CliRunner().invoke(app, [*arguments, "--set", "high_score=2"])
    assert isinstance(wrong.exception, InvalidInputError)


def test_two_sequences_of_one_name_are_refused(tmp_path: Path) -> None:
    make_sequence(tmp_path / "a", "one")
    make_sequence(tmp_path / "b", "one")
    result = CliRunner().invoke(app, ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path)])
    assert isinstance(result.exception, InvalidInputError)
    assert "b/one: expected a name of its own" in str(result.exception)


def test_the_time_is_that_of_the_updates_that_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sequence(tmp_path, "one")
    seconds = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    file = tmp_path / "scores.json"
    arguments = ["--no-peers", "--data", str(tmp_path), "--first-frame", "9", "--json", str(file)]
    result = CliRunner().invoke(app, ["evaluate", "tracker", *arguments])
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())["trackers"]["pathcast"]
    assert figures["ms_per_update"] == figures["sequences"]["one"]["ms_per_update"] == 1000


def embedder(path: Path) -> None:
    """A re-identification model that knows colours: the mean of each channel."""
    nodes = [helper.make_node("ReduceMean", ["crops"], ["means"], axes=[2, 3], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, 32, 16])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_options_that_need_images_run_beside_the_plain_tracker(tmp_path: Path) -> None:
    make_sequence(tmp_path, "one")
    arguments = ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path), "--camera-motion", "--appearance"]
    embedder(tmp_path / "colours.onnx")
    missing = CliRunner().invoke(app, [*arguments, str(tmp_path / "colours.onnx")])
    assert isinstance(missing.exception, InvalidInputError)
    assert "expected the sequence's images" in str(missing.exception)
    with Mp4Writer(tmp_path / "one" / "one.mp4", 10) as writer:
        for frame in range(14):
            writer.write(np.full((480, 640, 3), 10 * frame, np.uint8))
    file = tmp_path / "scores.json"
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "colours.onnx"), "--json", str(file)])
    assert result.exit_code == 0, result.output
    trackers = json.loads(file.read_text())["trackers"]
    options = [" + appearance", " + appearance + camera motion", " + camera motion"]
    assert list(trackers) == ["pathcast", *(f"pathcast{option}" for option in options)]
    assert all(figures["mota"] == 100 for figures in trackers.values())


def watcher(path: Path) -> None:
    """A detector with embeddings that always sees the same: two people who stand still, and a car."""
    constants = {
        "boxes_of": np.array([[[10, 10, 30, 60], [70, 10, 90, 60], [40, 40, 60, 50]]], np.float32),
        "scores_of": np.array([[0.99, 0.98, 0.97]], np.float32),
        "classes_of": np.array([[0, 0, 2]], np.int64),
        "embeddings_of": np.eye(3, dtype=np.float32)[None],
        "last": np.array([1, 2, 3]),
        "zero": np.zeros(1, np.float32),
    }
    kinds = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "classes": TensorProto.INT64}
    kinds["embeddings"] = TensorProto.FLOAT
    sizes = {"boxes": [3, 4], "scores": [3], "classes": [3], "embeddings": [3, 3]}
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    for name, kind in kinds.items():
        deep = len(sizes[name])
        nodes.append(helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_zero"]))
        nodes.append(helper.make_node("Cast", [f"{name}_zero"], [f"{name}_same"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_of", f"{name}_same"], [name]))
        constants[f"{name}_shape"] = np.array([-1, *[1] * deep])
    graph = helper.make_graph(
        nodes,
        "watcher",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 96, 96, 3])],
        [helper.make_tensor_value_info(name, kind, ["n", *sizes[name]]) for name, kind in kinds.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_detector_with_embeddings_is_run_on_the_images_and_tracked_with_and_without(tmp_path: Path) -> None:
    watcher(tmp_path / "watcher.onnx")
    folder, frames = tmp_path / "one", 12
    (folder / "gt").mkdir(parents=True)
    numbers = np.repeat(np.arange(1, frames + 1), 2)
    still = np.tile([[10, 10, 30, 60], [70, 10, 90, 60]], (frames, 1))
    # Before the frame from which it counts, everything is somewhere else.
    still[: 2 * 4] += 300
    write_boxes(folder / "gt" / "gt.txt", MotBoxes(numbers, np.tile([1, 2], frames), still, np.ones(2 * frames)))
    write_sequence_info(folder, SequenceInfo("one", 10, frames, 96, 96))
    with Mp4Writer(folder / "one.mp4", 10) as writer:
        for _ in range(frames):
            writer.write(np.full((96, 96, 3), 90, np.uint8))
    file = tmp_path / "scores.json"
    arguments = ["evaluate", "tracker", "--no-peers", "--data", str(folder), "--first-frame", "5", "--json", str(file)]
    result = CliRunner().invoke(app, [*arguments, "--detector", str(tmp_path / "watcher.onnx")])
    assert result.exit_code == 0, result.output
    trackers = json.loads(file.read_text())["trackers"]
    assert list(trackers) == ["pathcast", "pathcast + embeddings"]
    assert [figures["mota"] for figures in trackers.values()] == [100, 100]
    beyond = CliRunner().invoke(app, [*arguments, "--first-frame", "13"])
    assert "expected --first-frame within its 12 frames, got 13" in str(beyond.exception)
