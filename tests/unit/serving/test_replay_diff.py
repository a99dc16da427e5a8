"""Two replays of one recording, and what is said of their differences."""

from __future__ import annotations

from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pathcast.core import Detections, Observation
from pathcast.core.arrays import Float32Array
from pathcast.core.camera import Camera
from pathcast.core.ground_plane import HomographyPlane
from pathcast.registry.gates import replay_gate
from pathcast.registry.verdicts import read_verdicts, verdict_tags
from pathcast.serving.local_models import ConstantVelocity
from pathcast.serving.remote_models import ForecastBatch
from pathcast.serving.replay import RecordedDetector, recorded_frames, replay
from pathcast.serving.replay_diff import ReplayDiff, compare, merge
from pathcast.training.family import ReplayGate

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAMERA = Camera("gate")
GATE = ReplayGate("forecaster", tolerance=0.05, least_kept=0.8)


class Off:
    """A forecaster who thinks that everyone goes on at a `share` of the last speed."""

    served = True

    def __init__(self, share: float) -> None:
        self._share = share

    def forecast(self, observed: Float32Array, neighbours: Float32Array) -> ForecastBatch:
        paths = observed[:, -1:] + self._share * np.arange(1, 13)[:, None] * (observed[:, -1:] - observed[:, -2:-1])
        return ForecastBatch(paths[:, None].astype(np.float32), np.zeros((len(paths), 1), np.float32), "m", "1")


def recording(frames: int = 120, walkers: int = 3, score: float = 0.9) -> list[Observation]:
    """Walkers side by side, each at its own speed, who turn a little."""
    observations = []
    for number in range(frames):
        left = 20 * np.arange(walkers) + (1 + 0.2 * np.arange(walkers)) * number + 8 * np.sin(number / 15)
        top = np.full(walkers, 10.0) + 90 * np.arange(walkers)
        boxes = np.stack([left, top, left + 30, top + 80], axis=1)
        found = Detections(boxes, np.full(walkers, score), np.zeros(walkers))
        moment = START + timedelta(seconds=number / 7)
        observations.append(
            Observation("gate", number, moment, 640, 480, "d", "7", found, None, None, "m")  # type: ignore[arg-type]
        )
    return observations


def run(recorded: list[Observation], forecaster: object | None = None, camera: Camera = CAMERA) -> list[Observation]:
    detector = RecordedDetector(recorded)
    return replay(recorded_frames(recorded), camera, detector, forecaster or ConstantVelocity())  # type: ignore[arg-type]


def difference(forecaster: object, camera: Camera = CAMERA) -> ReplayDiff:
    return compare(run(recording(), camera=camera), run(recording(), forecaster, camera))


def test_a_replay_gives_again_what_was_recorded_and_equals_itself() -> None:
    recorded, done = recording(), []
    observations = replay(
        recorded_frames(recorded), CAMERA, RecordedDetector(recorded), ConstantVelocity(), advance=done.append
    )
    assert sum(done) == len(observations) == 120
    assert [each.detector_version for each in observations] == ["7"] * 120
    assert all(
        np.array_equal(a.detections.xyxy, b.detections.xyxy) for a, b in zip(recorded, observations, strict=True)
    )
    diff = compare(observations, run(recorded))
    assert (diff.detections.champion, diff.detections.added, diff.detections.lost) == (360, 0, 0)
    assert (diff.tracks.champion, diff.tracks.both, diff.identity_agreement) == (3, 3, 1.0)
    assert diff.forecasts.champion == diff.forecasts.both > 0
    assert np.array_equal(diff.errors.champion, diff.errors.challenger)
    assert replay_gate(GATE, diff).passed


def test_errors_are_compared_on_the_same_windows() -> None:
    diff = difference(Off(0.5))
    assert len(diff.errors) > 50
    assert np.allclose(diff.errors.champion, diff.errors.constant_velocity, atol=2e-5)
    assert diff.errors.challenger[:, 0].mean() > 1.5 * diff.errors.champion[:, 0].mean()
    low, high = diff.errors.gain_interval()
    gain = 1 - diff.errors.challenger.mean(axis=0) / diff.errors.champion.mean(axis=0)
    assert (low <= gain).all()
    assert (gain <= high).all()
    verdict = replay_gate(GATE, diff)
    assert not verdict.passed
    assert verdict.numbers["challenger_ade"] > verdict.numbers["champion_ade"]
    assert read_verdicts(verdict_tags(verdict)) == [verdict]


@pytest.mark.parametrize(("share", "passed"), [(1.0, True), (0.97, True), (0.5, False)])
def test_a_challenger_may_be_worse_by_the_tolerance_alone(share: float, passed: bool) -> None:
    assert replay_gate(GATE, difference(Off(share))).passed == passed


def test_detections_and_identities_that_change_are_counted() -> None:
    recorded = recording()
    # The challenger does not see the third walker, and sees another one below.
    fewer = [
        changed(
            each,
            detections=Detections([*each.detections.xyxy[:2], [300, 400, 330, 470]], [0.9, 0.9, 0.9], [0, 0, 0]),
        )
        for each in recorded
    ]
    diff = compare(run(recorded), run(fewer))
    assert (diff.detections.both, diff.detections.added, diff.detections.lost) == (240, 120, 120)
    assert (diff.tracks.champion, diff.tracks.challenger, diff.tracks.both) == (3, 3, 2)
    verdict = replay_gate(GATE, diff)
    assert not verdict.passed
    assert "66.7% of the champion's detections kept, expected 80%" in verdict.reason


def test_doubtful_detections_are_not_counted_and_nothing_scored_is_no_failure() -> None:
    diff = compare(run(recording(12, score=0.3)), run(recording(12, score=0.3)))
    assert (diff.detections.champion, diff.kept, diff.identity_agreement) == (0, None, None)
    verdict = replay_gate(GATE, diff)
    assert verdict.passed
    assert "no forecast of both was scored" in verdict.reason


def test_cameras_are_added_and_their_tracks_kept_apart() -> None:
    one, other = difference(Off(0.5)), difference(Off(0.97))
    both = merge([one, other])
    assert both.frames == 240
    assert both.detections.both == 720
    assert len(set(both.errors.tracks.tolist())) == 6
    assert both.errors.challenger.sum() == pytest.approx(one.errors.challenger.sum() + other.errors.challenger.sum())


def test_a_camera_without_calibration_weighs_as_one_with_it() -> None:
    """Where a pixel is as long on the ground as it is taken for without calibration."""
    calibrated = Camera("gate", HomographyPlane(np.diag([20 / 480, 20 / 480, 1.0])))
    errors, same = (difference(Off(0.5), camera).errors for camera in (CAMERA, calibrated))
    for side in ("champion", "challenger", "constant_velocity"):
        assert getattr(errors, side) == pytest.approx(getattr(same, side), rel=1e-4, abs=1e-4)
    worse, better = difference(Off(0.5)), difference(Off(1.0), calibrated)
    assert not replay_gate(GATE, merge([worse, better])).passed
