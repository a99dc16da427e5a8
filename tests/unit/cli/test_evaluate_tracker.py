from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import InvalidInputError
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


def test_missing_peers_are_skipped_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sequence(tmp_path, "one")
    monkeypatch.setitem(sys.modules, "trackers", None)
    file = tmp_path / "scores.json"
    result = CliRunner().invoke(app, ["evaluate", "tracker", "--data", str(tmp_path), "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "without peers" in result.output
    assert list(json.loads(file.read_text())["trackers"]) == ["pathcast"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"found no seqinfo\.ini"),
        (["one", "--detections", "nowhere"], "expected detections at one of"),
        (["one", "--detections", "loud"], r"loud/det\.txt: scores: expected values in \[0, 1\]"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    make_sequence(tmp_path, "one")
    (tmp_path / "one" / "loud").mkdir()
    (tmp_path / "one" / "loud" / "det.txt").write_text("1,-1,0,0,5,5,60,-1,-1,-1\n")
    folder, *options = arguments or ["empty"]
    result = CliRunner().invoke(app, ["evaluate", "tracker", "--no-peers", "--data", str(tmp_path / folder), *options])
    assert result.exit_code == 1
    assert isinstance(result.exception, InvalidInputError)
    with pytest.raises(InvalidInputError, match=message):
        raise result.exception
