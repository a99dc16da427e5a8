from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.tracking.evaluation import ScoredSequence, evaluate
from pathcast.tracking.mot_format import (
    MotBoxes,
    from_tracks,
    read_boxes,
    read_sequence_info,
    to_detections,
    write_boxes,
)
from pathcast.tracking.tracker import Tracker

trackeval = pytest.importorskip("trackeval", reason="TrackEval is not installed")

DATA = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "mot15").is_dir(), reason=f"no MOT15 sequences at {DATA / 'mot15'}")


def walkers(frames: int = 20) -> MotBoxes:
    numbers = np.repeat(np.arange(1, frames + 1), 2)
    ids = np.tile([3, 8], frames)
    left = 10.0 * numbers + np.tile([0, 200], frames)
    return MotBoxes(numbers, ids, np.stack((left, left * 0, left + 30, left * 0 + 80), axis=1), np.ones(2 * frames))


def test_ground_truth_as_its_own_submission_is_perfect() -> None:
    truth = walkers()
    overall, each = evaluate({"a": ScoredSequence(truth, truth, 20)})
    assert (overall.hota, overall.mota, overall.idf1) == pytest.approx((100, 100, 100))
    assert (overall.id_switches, overall.fragments, overall.false_positives, overall.misses) == (0, 0, 0, 0)
    assert each == {"a": overall}


def test_exchanged_identities_cost_switches_and_nothing_else() -> None:
    truth = walkers()
    ids = np.where(truth.frames > 10, 11 - truth.ids, truth.ids)
    overall, _ = evaluate({"a": ScoredSequence(truth, MotBoxes(truth.frames, ids, truth.xyxy, truth.confidences), 20)})
    assert overall.id_switches == 2
    assert overall.mota == pytest.approx(100 * (1 - 2 / 40))
    assert overall.idf1 == pytest.approx(50)


def test_missing_and_extra_boxes_are_counted() -> None:
    truth = walkers()
    half = truth.select(truth.ids == 3)
    overall, _ = evaluate({"a": ScoredSequence(truth, half, 20), "b": ScoredSequence(half, truth, 20)})
    assert (overall.misses, overall.false_positives) == (20, 20)
    assert overall.mota == pytest.approx(100 * (1 - 40 / 60))


def test_ground_truth_of_confidence_0_is_left_out() -> None:
    truth = walkers()
    marked = MotBoxes(truth.frames, truth.ids, truth.xyxy, np.where(truth.ids == 8, 0, 1))
    overall, _ = evaluate({"a": ScoredSequence(marked, truth.select(truth.ids == 3), 20)})
    assert overall.hota == pytest.approx(100)


def test_no_results_score_nothing() -> None:
    truth = walkers()
    overall, _ = evaluate({"a": ScoredSequence(truth, truth.select(truth.ids == 0), 20)})
    assert (overall.hota, overall.mota, overall.idf1, overall.misses) == (0, 0, 0, 40)


def test_what_cannot_be_scored_is_refused() -> None:
    truth = walkers()
    with pytest.raises(InvalidInputError, match="none"):
        evaluate({})
    with pytest.raises(InvalidInputError, match="gate: ground truth: expected frames 1 to 19, got 1 to 20"):
        evaluate({"gate": ScoredSequence(truth, truth, 19)})
    doubled = MotBoxes(truth.frames, np.full(len(truth), 3), truth.xyxy, truth.confidences)
    with pytest.raises(InvalidInputError, match="gate: results: id 3 stands more than once in frame 1"):
        evaluate({"gate": ScoredSequence(truth, doubled, 20)})


@needs_data
@pytest.mark.parametrize("name", ["KITTI-17", "ETH-Sunnyday"])
def test_agrees_with_trackeval_run_on_files(name: str, tmp_path: Path) -> None:
    folder = DATA / "mot15" / name
    info = read_sequence_info(folder)
    truth = read_boxes(folder / "gt" / "gt.txt", length=info.length, identified=True)
    detections = to_detections(read_boxes(folder / "det" / "det.txt", length=info.length), info.length)
    tracker = Tracker()
    start = datetime(2024, 1, 1, tzinfo=UTC)
    results = from_tracks(
        {
            frame: tracker.update(seen, start + timedelta(seconds=frame / info.frame_rate))
            for frame, seen in enumerate(detections, start=1)
        }
    )
    file = tmp_path / "trackers" / "ours" / "data" / f"{name}.txt"
    file.parent.mkdir(parents=True)
    write_boxes(file, results)
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(DATA / "mot15"),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "BENCHMARK": "MOT15",
            "SEQ_INFO": {name: info.length},
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
    )
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("ours", name), "pedestrian")
    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    clear = trackeval.metrics.CLEAR(quiet).eval_sequence(data)
    identity = trackeval.metrics.Identity(quiet).eval_sequence(data)

    overall, _ = evaluate({name: ScoredSequence(truth, results, info.length)})
    assert overall.id_switches == clear["IDSW"]
    assert overall.fragments == clear["Frag"]
    assert (overall.false_positives, overall.misses) == (clear["CLR_FP"], clear["CLR_FN"])
    # The file holds ten digits of each number, so a box may cross one of HOTA's thresholds.
    assert overall.hota == pytest.approx(100 * float(np.mean(hota["HOTA"])), abs=1e-3)
    assert overall.mota == pytest.approx(100 * clear["MOTA"], abs=1e-9)
    assert overall.idf1 == pytest.approx(100 * identity["IDF1"], abs=1e-9)


@needs_data
def test_real_ground_truth_as_its_own_submission_is_perfect() -> None:
    folder = DATA / "mot15" / "ETH-Sunnyday"
    info = read_sequence_info(folder)
    truth = read_boxes(folder / "gt" / "gt.txt", length=info.length, identified=True)
    assert (truth.confidences == 0).any()
    overall, _ = evaluate({"real": ScoredSequence(truth, truth.select(truth.confidences != 0), info.length)})
    assert (overall.hota, overall.mota, overall.idf1) == pytest.approx((100, 100, 100))
