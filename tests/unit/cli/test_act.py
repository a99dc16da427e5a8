import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.serving.action_model import ActionFile, actions_over_time
from tests.support.clips import write_brightness_model, write_strip, write_video

DARK, BRIGHT = (np.full((10, 16, 16, 3), grey, np.uint8) for grey in (30, 220))


def test_actions_are_printed_over_time(tmp_path: Path) -> None:
    model = write_brightness_model(tmp_path / "actions")
    write_video(tmp_path / "clip.avi", np.concatenate([DARK, BRIGHT]))
    target = tmp_path / "actions.json"
    done = CliRunner().invoke(
        app, ["act", str(tmp_path / "clip.avi"), "--model", str(model), "--fps", "10", "--json", str(target)]
    )
    assert done.exit_code == 0, done.output
    windows = json.loads(target.read_text())["windows"]
    assert [(window["start_s"], window["end_s"], window["action"]) for window in windows] == [
        (0.0, 1.0, "dark"),
        (1.0, 2.0, "bright"),
    ]
    assert windows[1]["probabilities"]["bright"] == pytest.approx(220 / 255, abs=0.02)
    assert all(1.0 <= second < 2.0 for second in windows[1]["told_by_s"])
    assert "0.0 to 1.0" in done.output


def test_the_shipped_model_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.avi", np.concatenate([DARK, BRIGHT]))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["act", "clip.avi", "--fps", "10"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "windows of" in done.output


def test_windows_overlap_and_name_the_frames_that_told(tmp_path: Path) -> None:
    model = ActionFile(write_brightness_model(tmp_path))
    mixed = np.concatenate([DARK[:9], BRIGHT[:1], DARK])
    windows = list(actions_over_time(iter(mixed), 10.0, model, step_s=0.5, told_by=1))
    assert [window.start_s for window in windows] == [0.0, 0.5, 1.0]
    assert windows[0].selected_s == (0.9,)


def test_frames_between_windows_that_lie_apart_are_left_out(tmp_path: Path) -> None:
    model = ActionFile(write_brightness_model(tmp_path))
    windows = list(actions_over_time(iter(np.concatenate([DARK, BRIGHT, DARK, BRIGHT])), 10.0, model, step_s=2.0))
    assert [(window.start_s, window.end_s) for window in windows] == [(0.0, 1.0), (2.0, 3.0)]
    assert all(window.probabilities[1] > 0.8 for window in windows)


def test_a_short_video_is_one_window(tmp_path: Path) -> None:
    model = ActionFile(write_brightness_model(tmp_path))
    (window,) = actions_over_time(iter(BRIGHT[:3]), 10.0, model, step_s=1.0)
    assert (window.start_s, window.end_s) == (0.0, 0.3)
    with pytest.raises(InvalidInputError, match="two frames or more, got 1"):
        list(actions_over_time(iter(BRIGHT[:1]), 10.0, model, step_s=1.0))


def test_a_served_file_is_scored_on_folders_of_clips(tmp_path: Path) -> None:
    model = write_brightness_model(tmp_path / "model")
    for name, clip in (("bright", BRIGHT), ("dark", DARK)):
        write_strip(tmp_path / "data" / name / "a.png", clip)
    arguments = ["evaluate", "actions", "--data", str(tmp_path / "data"), "--model", str(model)]
    done = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "scores.json")])
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["balanced_accuracy"] == 1.0
    assert {"accuracy", "macro_f1", "classes", "samples", "samples_per_s"} <= set(scores)
    write_strip(tmp_path / "data" / "grey" / "a.png", DARK)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InvalidInputError)
    assert "class grey" in str(done.exception)


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    model = write_brightness_model(tmp_path / "model")
    write_strip(tmp_path / "one.png", BRIGHT[:1])
    done = CliRunner().invoke(app, ["act", str(tmp_path / "one.png"), "--model", str(model)])
    assert isinstance(done.exception, InvalidInputError)
    assert "one.png: expected two frames or more, got 1" in str(done.exception)


def test_what_is_no_action_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such file"):
        ActionFile(tmp_path / "1" / "model.onnx")
    model = write_brightness_model(tmp_path / "two")
    config = model.parents[1] / "config.pbtxt"
    config.write_text(config.read_text().replace("bright,dark", "bright,dark,grey"))
    with pytest.raises(InvalidInputError, match="expected 3 classes of its configuration, got 2"):
        ActionFile(model)
    config.write_text(config.read_text().replace("window_s", "window"))
    with pytest.raises(InvalidInputError, match="class_names and window_s"):
        ActionFile(model)
