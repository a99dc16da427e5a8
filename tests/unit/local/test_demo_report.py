"""The demo's figures keep their units, and its report holds everything in one file."""

import re

import numpy as np
import pytest

from pathcast.core import Forecast, Trajectory
from pathcast.local.demo.report import horizon_errors, write_report
from pathcast.local.demo.result import DemoResult


def a_result(units="m", **changes):
    fields = {
        "video": "clip.avi", "camera_id": "gate", "units": units, "duration_s": 1.0, "phases_s": {"up": 1.0},
        "frames_expected": 10, "frames_stored": 10, "frames_analysed": 10, "duplicate_rows": 0, "sequence_gaps": 0,
        "detections": 5, "tracks": 2, "fps": 7.0, "stage_ms": {"detect": {"p50": 20.0, "p99": 30.0}},
        "person_ap50": 0.9, "hota": 50.0, "mota": 60.0, "idf1": 70.0, "forecasts": 9, "forecasts_scored": 4,
        "forecasts_track_ended": 2, "forecasts_open": 3, "ade": 0.4, "fde": 0.8, "best_ade": 0.2, "best_fde": 0.3,
        "constant_velocity_ade": 0.5, "constant_velocity_fde": 1.0, "compared_forecasts": 4,
        "parity_max_error": 1e-6, "models": {"forecaster": "2"},
    }  # fmt: skip
    return DemoResult(**{**fields, **changes})


@pytest.mark.parametrize(("units", "suffix"), [("m", "m"), ("frame_heights", "frame_heights")])
def test_json_keys_carry_the_unit(units, suffix):
    fields = a_result(units).as_json()
    assert fields[f"ade_{suffix}"] == 0.4
    assert fields[f"constant_velocity_fde_{suffix}"] == 1.0
    assert "ade" not in fields


def test_figures_that_could_not_be_measured_are_left_out_of_the_table():
    labels = [label for label, _ in a_result(person_ap50=None, hota=None, ade=None).rows("m")]
    assert not [label for label in labels if re.search("AP50|HOTA|ADE|velocity", label)]


def test_horizon_errors_are_per_step_and_nan_where_nothing_came():
    trajectory = Trajectory("gate", 1, 0, 100, [[step, 0.0] for step in range(12)], "m")
    paths = np.zeros((1, 12, 2))
    forecast = Forecast("gate", 1, 0, 107, [7, 0], [1, 0], paths, [0.0], "m", "forecaster", "1")
    model, straight = horizon_errors([forecast], [trajectory])
    np.testing.assert_allclose(model[:4], [8, 9, 10, 11])
    np.testing.assert_allclose(straight[:4], 0)
    assert np.isnan(model[4:]).all()
    assert np.isnan(straight[4:]).all()


def test_the_report_is_one_file(tmp_path):
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"video")
    trajectory = Trajectory("gate", 1, 0, 100, [[step, 0.0] for step in range(12)], "m")
    stills = {0: np.zeros((8, 8, 3), np.uint8)}
    page = write_report(tmp_path, a_result(video="<clip>"), [], [trajectory], stills, video).read_text()
    assert "&lt;clip&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64,") == 4
