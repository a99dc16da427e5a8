"""The tracker's scores on real detections must not fall below the figures in floors.toml."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.tracking.evaluation import ScoredSequence, evaluate
from pathcast.tracking.mot_format import from_tracks, read_boxes, read_sequence_info, to_detections
from pathcast.tracking.tracker import Tracker

pytest.importorskip("trackeval", reason="TrackEval is not installed")

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data"))
FLOORS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["tracker"]
CASES = [(detector, name) for detector, sequences in FLOORS.items() for name in sequences]
START = datetime(2024, 1, 1, tzinfo=UTC)


EVERY = ("ADL-Rundle-8", "ETH-Pedcross2", "ETH-Sunnyday", "KITTI-17", "PETS09-S2L1", "TUD-Campus", "Venice-2")


def files_of(detector: str, name: str) -> tuple[Path, Path]:
    """The sequence's folder and its detections."""
    if name == "PETS09-S2L1":
        clip = DATA / "pets09_s2l1"
        places = {"yolox_nano": clip / "det_yolox_nano", "faster_rcnn": clip / "mot15" / "det_frcnn_sort"}
        return clip / "mot15", places[detector] / "det.txt"
    return DATA / "mot15" / name, DATA / "mot15" / name / "det" / "det.txt"


def tracked(detector: str, name: str) -> ScoredSequence:
    folder, path = files_of(detector, name)
    if not path.is_file():
        pytest.skip(f"no detections at {path}; PATHCAST_DATA names the folder of test data")
    info = read_sequence_info(folder)
    detections = to_detections(read_boxes(path, length=info.length), info.length)
    truth = read_boxes(folder / "gt" / "gt.txt", length=info.length, identified=True)
    tracker = Tracker()
    results = {
        frame: tracker.update(seen, START + timedelta(seconds=frame / info.frame_rate))
        for frame, seen in enumerate(detections, start=1)
    }
    return ScoredSequence(truth, from_tracks(results), info.length)


@pytest.mark.parametrize(("detector", "name"), CASES)
def test_scores_stay_above_their_floors(detector: str, name: str) -> None:
    scores, _ = evaluate({part: tracked(detector, part) for part in (EVERY if name == "all" else (name,))})
    floors = FLOORS[detector][name]
    measured = {metric: round(getattr(scores, metric), 2) for metric in floors}
    assert all(measured[metric] >= floor for metric, floor in floors.items()), (measured, floors)


def test_the_ground_truth_as_a_submission_scores_a_hundred(tmp_path: Path) -> None:
    """As it is published: some sequences mark boxes that do not count."""
    (tmp_path / "submission").mkdir()
    arguments = ["--no-peers", "--results", tmp_path / "submission", "--json", tmp_path / "scores.json"]
    arguments += ["--detections", "det_frcnn_sort", "--detections", "det"]
    for name in ("ETH-Sunnyday", "KITTI-17", "PETS09-S2L1"):
        folder, detections = files_of("faster_rcnn", name)
        if not detections.is_file():
            pytest.skip(f"no detections at {detections}; PATHCAST_DATA names the folder of test data")
        shutil.copy(folder / "gt" / "gt.txt", tmp_path / "submission" / f"{name}.txt")
        arguments += ["--data", folder]
    result = CliRunner().invoke(app, ["evaluate", "tracker", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    perfect = json.loads((tmp_path / "scores.json").read_text())["trackers"]["submission"]
    for scores in (perfect, *perfect["sequences"].values()):
        assert (scores["hota"], scores["mota"], scores["idf1"], scores["id_switches"]) == (100, 100, 100, 0)
