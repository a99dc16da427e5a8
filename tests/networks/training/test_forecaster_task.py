from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from support.shared_validation import validated_by

from pathcast.core import PathcastError, Trajectory
from pathcast.core.trajectory import FRAME_HEIGHTS, METRES
from pathcast.forecasting.augmentation import Augmentation
from pathcast.forecasting.baselines import constant_velocity
from pathcast.forecasting.evaluation import evaluate
from pathcast.forecasting.metrics import score_path
from pathcast.forecasting.model import build_forecaster
from pathcast.forecasting.neighbours import scaled
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster
from pathcast.forecasting.units import metres_per
from pathcast.forecasting.windows import Windows, cut_windows
from pathcast.training.forecaster import FINE_TUNING
from pathcast.training.forecaster_task import ForecasterTask, keras_predictor, train
from pathcast.training.loop import EpochReport
from pathcast.training.settings import Precision, TrainingSettings
from pathcast.training.share import Share

SMALL = ForecasterSettings(modes=4, units=8, dropout=0.0)


def turning_walks(tracks: int, *, seed: int) -> list[Trajectory]:
    """People who turn left at the same rate, one after the other: constant velocity is wrong, but one can learn."""
    random = np.random.default_rng(seed)
    found = []
    for track in range(tracks):
        heading = random.uniform(-np.pi, np.pi) + 0.12 * np.arange(24)
        steps = random.uniform(0.3, 0.6) * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        found.append(Trajectory("gate", track, 0, 24 * track, steps.cumsum(axis=0), METRES))
    return found


def windows(tracks: int, *, seed: int) -> Windows:
    return cut_windows(turning_walks(tracks, seed=seed))


SHORT = TrainingSettings(epochs=4, batch_size=32, learning_rate=1e-2, ema=0.9)


@pytest.fixture(scope="module")
def trained() -> TrainedForecaster:
    """By the settings `SHORT`."""
    return train(windows(60, seed=1), windows(20, seed=2), SHORT, settings=SMALL)


def test_the_same_seed_gives_the_same_weights_and_learning_helps(trained: TrainedForecaster) -> None:
    reports: list[EpochReport] = []
    first = train(windows(60, seed=1), windows(20, seed=2), SHORT, settings=SMALL, progress=reports.append)
    second = trained
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].loss < reports[0].loss
    assert first.record["val"]["ade"] < first.record["val_start"]["ade"]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_as_well_to_a_tenth(precision: Precision, trained: TrainedForecaster) -> None:
    mixed = train(windows(60, seed=1), windows(20, seed=2), replace(SHORT, precision=precision), settings=SMALL)
    assert {array.dtype for array in mixed.weights.values()} == {np.dtype(np.float32)}
    assert mixed.record["val"]["ade"] == pytest.approx(trained.record["val"]["ade"], rel=0.1)


def test_early_stopping_keeps_the_best_weights() -> None:
    settings = TrainingSettings(epochs=30, batch_size=32, learning_rate=0.5, ema=0.0, patience=1)
    reports: list[EpochReport] = []
    trained = train(windows(20, seed=1), windows(10, seed=2), settings, settings=SMALL, progress=reports.append)
    assert len(reports) < 30
    assert not reports[-1].best
    assert trained.record["val"]["score"] <= min(report.figures["score"] for report in reports)


def test_a_loss_that_is_not_finite_stops_training() -> None:
    far = windows(20, seed=1)
    broken = Windows(far.paths * 1e30, far.tracks, METRES)
    with pytest.raises(PathcastError, match="the loss of epoch 1 is"):
        train(broken, windows(10, seed=2), TrainingSettings(epochs=1, batch_size=16), settings=SMALL)


def test_fine_tuning_adapts_to_a_place_and_is_judged_on_other_tracks() -> None:
    known, others = cut_windows(turning_walks(40, seed=3)).split_by_track(0.25, seed=1)
    tuned = train(known, others, FINE_TUNING, initial=shipped_forecaster())
    before, after = tuned.record["val_start"]["ade"], tuned.record["val"]["ade"]
    assert after < before
    assert after < score_path(constant_velocity(others.observed), others.future).ade
    assert tuned.settings == shipped_forecaster().settings


PLAIN = Augmentation(mirror=0, reverse=0, log_speed=0, noisy=0, paces=())


def drawn(sizes: tuple[int, ...], batch_size: int) -> np.ndarray:
    """The recording of each window of one epoch; walkers of recording k go k + 1 a step."""
    recordings = np.repeat(np.arange(len(sizes)), sizes)
    paths = np.zeros((len(recordings), 20, 2))
    paths[..., 0] = np.arange(20) * (recordings + 1)[:, None]
    many = Windows(paths, np.arange(len(paths)), METRES, recordings)
    task = ForecasterTask(many, many, SMALL, augmentation=PLAIN)
    futures = [future for _, _, future in task.batches(batch_size, np.random.default_rng(0), Share())]
    assert [len(future) for future in futures] == [batch_size] * task.steps_per_epoch(batch_size)
    return (np.concatenate(futures)[:, 0, 0] - 1).round().astype(int)


@pytest.mark.parametrize("sizes", [(900, 90, 10), (990, 10)])
def test_recordings_count_the_same_however_long_they_are(sizes: tuple[int, ...]) -> None:
    shares = np.bincount(drawn(sizes, 64)) / 960
    assert shares == pytest.approx([1 / len(sizes)] * len(sizes), abs=0.06)


@pytest.mark.parametrize(("windows_", "batch_size", "wanted"), [(50, 24, 48), (10, 64, 64)])
def test_one_recording_fills_batches(windows_: int, batch_size: int, wanted: int) -> None:
    assert len(drawn((windows_,), batch_size)) == wanted


def test_one_recording_is_seen_without_repeats() -> None:
    walks = windows(20, seed=1)
    task = ForecasterTask(walks, walks, SMALL, augmentation=PLAIN)
    seen = [observed for observed, _, _ in task.batches(10, np.random.default_rng(0), Share())]
    assert len(np.unique(np.concatenate(seen).reshape(-1, 16), axis=0)) == len(walks)


def test_workers_vary_their_own_windows_as_one_would_that_varies_all() -> None:
    walks = windows(20, seed=1)
    task = ForecasterTask(walks, walks, SMALL)

    def batches(share: Share) -> list[np.ndarray]:
        """One array of all that a batch holds, a row a window."""
        return [
            np.concatenate([values.reshape(len(values), -1) for values in batch], axis=1)
            for batch in task.batches(12, np.random.default_rng(0), share)
        ]

    alone, parts = batches(Share()), zip(*(batches(Share(index, 3)) for index in range(3)), strict=True)
    np.testing.assert_array_equal(alone, [np.concatenate(part) for part in parts])
    assert len(alone) > 1


def in_frame_heights(seen: Windows) -> Windows:
    metre = 1 / metres_per(FRAME_HEIGHTS)
    others = scaled(seen.neighbours, metre), scaled(seen.neighbours_backwards, metre)
    return Windows(seen.paths * metre, seen.tracks, FRAME_HEIGHTS, seen.recordings, *others)


def test_a_camera_without_calibration_is_learned_from_in_typical_metres() -> None:
    walks = windows(20, seed=1)
    metric, pictured = (
        list(ForecasterTask(seen, seen, SMALL).batches(32, np.random.default_rng(0), Share()))
        for seen in (walks, in_frame_heights(walks))
    )
    for of_pictured, of_metric in zip(pictured, metric, strict=True):
        for values, wanted in zip(of_pictured, of_metric, strict=True):
            np.testing.assert_allclose(values, wanted, atol=1e-5)


def test_a_camera_without_calibration_is_judged_in_its_own_units() -> None:
    predictor, walks = keras_predictor(build_forecaster(SMALL)), windows(20, seed=1)
    metric, pictured = evaluate(predictor, walks), evaluate(predictor, in_frame_heights(walks))
    assert pictured.ade * metres_per(FRAME_HEIGHTS) == pytest.approx(metric.ade, rel=1e-5)
    assert pictured.mode_nll == pytest.approx(metric.mode_nll, rel=1e-5)


@pytest.mark.parametrize("count", [2, 6])
def test_workers_that_share_the_validation_find_what_one_finds(count: int) -> None:
    walks = windows(1, seed=1)
    task = ForecasterTask(walks, walks, SMALL)
    model = task.build()
    wanted = evaluate(keras_predictor(model), walks)
    for figures in validated_by(count, task, model):
        assert {**figures, "score": 0} == pytest.approx({**asdict(wanted), "score": 0}, rel=1e-6)
