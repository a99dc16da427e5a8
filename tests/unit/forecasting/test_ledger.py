"""The ledger's grid, what it calls due, and what it scores."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core import FrameTracks, InvalidInputError
from pathcast.core.trajectory import step_time
from pathcast.forecasting.ledger import ForecastLedger

GOLDEN = Path(__file__).parents[2] / "golden" / "states"
START_STEP = 4_000_000_000
START = step_time(START_STEP)


def walk(ledger, seconds, *, fps=7.0, tracks=None, modes=2):
    """Feed straight walkers: id to (position at 0 s, velocity per s, seen(t)). Return forecasts and scores."""
    tracks = tracks or {1: ((0.0, 0.0), (1.0, 0.5), lambda t: True)}
    forecasts, scores = [], []
    for index in range(round(seconds * fps) + 1):
        t = index / fps
        seen = {k: np.add(p, np.multiply(v, t)) for k, (p, v, visible) in tracks.items() if visible(t)}
        count = len(seen)
        frame = FrameTracks(list(seen), np.zeros((count, 4)), np.ones(count), np.zeros(count), np.arange(count))
        positions = np.asarray(list(seen.values())).reshape(-1, 2)
        due, fell_due = ledger.advance(START + timedelta(seconds=t), frame, positions)
        scores += fell_due
        if due is not None:
            velocity = due.observed[:, -1] - due.observed[:, -2]
            ahead = np.arange(1, 13)[None, :, None]
            straight = due.observed[:, -1][:, None] + ahead * velocity[:, None]
            paths = np.stack([straight + mode for mode in range(modes)], axis=1).astype(np.float32)
            log_probs = np.tile(np.log([0.9] + [0.1] * (modes - 1)).astype(np.float32), (len(paths), 1))
            forecasts += ledger.record(due, paths, log_probs, "forecaster", "3")
    return forecasts, scores


def test_first_forecast_after_eight_steps_then_one_each_step():
    forecasts, _ = walk(ForecastLedger("gate", "m"), 4.0)
    # The first sight is exactly on the grid, so steps 0-7 are the first eight; 4 s hold steps 7, 8, 9 and 10.
    assert [forecast.made_at_step - START_STEP for forecast in forecasts] == [7, 8, 9, 10]
    assert forecasts[0].origin == pytest.approx([2.8, 1.4], abs=1e-5)
    assert forecasts[0].velocity == pytest.approx([0.4, 0.2], abs=1e-5)


def test_neighbours_are_all_tracks_seen_at_that_step_and_the_one_before():
    ledger, dues = ForecastLedger("gate", "frame_heights"), []
    lives = {1: range(20), 2: range(6, 20), 3: range(7, 20), 4: range(5)}
    for index in range(9):
        seen = [track for track, steps in lives.items() if index in steps]
        rows = np.arange(len(seen))
        frame = FrameTracks(seen, np.zeros((len(seen), 4)), np.ones(len(seen)), rows * 0, rows)
        places = np.array([[0.1 * index, track] for track in seen])
        dues.append(ledger.advance(step_time(START_STEP + index), frame, places)[0])
    assert [due and due.track_ids.tolist() for due in dues] == [None] * 7 + [[1], [1]]
    told = [due.neighbours[0, :, [1, 4]].T.tolist() for due in dues[7:]]
    assert told == [[[2, 1]] + [[0, 0]] * 7, [[2, 1], [3, 1]] + [[0, 0]] * 6]
    observed, neighbours = dues[7].in_metres()
    assert observed[0, -1] == pytest.approx([14, 20])
    assert neighbours[0, 0] == pytest.approx([14, 40, 2, 0, 1])


def side_by_side():
    """Two walkers, seen a tenth of a second before and after each step of the grid: moments, frames, places.

    At the end one is missed after the step, and seen again another tenth later.
    """
    moments = [step_time(START_STEP + index) + timedelta(seconds=shift) for index in range(9) for shift in (-0.1, 0.1)]
    for number, moment in enumerate([*moments, moments[-1] + timedelta(seconds=0.1)]):
        seen = [2] if number == len(moments) - 1 else [1, 2]
        rows = np.arange(len(seen))
        frame = FrameTracks(seen, np.zeros((len(seen), 4)), np.ones(len(seen)), rows * 0, rows)
        yield moment, frame, np.array([[0.1 * number, track] for track in seen])


def test_who_was_missed_in_a_frame_still_has_neighbours():
    ledger = ForecastLedger("gate", "m")
    dues = [ledger.advance(*sight)[0] for sight in side_by_side()]
    late = dues[-1]
    assert late.track_ids.tolist() == [1]
    assert late.neighbours[0, :, 4].tolist() == [1, *[0] * 7]
    assert late.neighbours[0, 0, 1] == pytest.approx(2)


@pytest.mark.parametrize("fps", [1.0, 2.5, 7.0, 25.0, 30.0])
def test_every_forecast_whose_horizon_has_passed_is_scored_once_at_any_frame_rate(fps):
    forecasts, scores = walk(ForecastLedger("gate", "m"), 20.0, fps=fps)
    last_step = max(forecast.made_at_step for forecast in forecasts)
    passed = [forecast.made_at_step for forecast in forecasts if forecast.made_at_step <= last_step - 12]
    assert passed
    assert [score.made_at_step for score in scores] == passed
    for score in scores:
        assert (score.status, score.steps) == ("scored", 12)
        assert score.ade == pytest.approx(0.0, abs=1e-4)
        assert score.constant_velocity_fde == pytest.approx(0.0, abs=1e-4)


def test_errors_are_those_of_the_most_likely_path_and_of_the_best():
    ledger = ForecastLedger("gate", "m")
    for index in range(21):
        frame = FrameTracks([1], np.zeros((1, 4)), [1], [0], [0])
        shift = 1.0 if index > 7 else 0.0
        due, scores = ledger.advance(step_time(START_STEP + index), frame, np.asarray([[shift, 0.0]]))
        if due is not None:
            paths = np.zeros((1, 2, 12, 2), np.float32)
            paths[0, 1, :, 0] = 1.0
            ledger.record(due, paths, np.log(np.asarray([[0.8, 0.2]], np.float32)), "forecaster", "1")
        if scores:
            break
    (score,) = scores
    assert score.made_at_step == START_STEP + 7
    assert (score.ade, score.fde) == pytest.approx((1.0, 1.0))
    assert (score.best_ade, score.best_fde) == pytest.approx((0.0, 0.0))
    assert (score.constant_velocity_ade, score.constant_velocity_fde) == pytest.approx((1.0, 1.0))


def test_forecasts_that_are_scored_together_keep_their_own_errors():
    """Three walkers, one of whom goes early; forecasts of 2 and of 3 paths in turns."""
    random = np.random.default_rng(7)
    walked = random.normal(size=(3, 40, 2)).cumsum(axis=1)
    ledger, made, scores = ForecastLedger("gate", "m"), {}, []
    for index in range(40):
        seen = [0, 1, 2] if index < 16 else [0, 1]
        frame = FrameTracks(seen, np.zeros((len(seen), 4)), np.ones(len(seen)), np.zeros(len(seen)), seen)
        due, fell_due = ledger.advance(step_time(START_STEP + index), frame, walked[seen, index])
        scores += fell_due
        if due is not None:
            modes = 2 + index // 3 % 2
            paths = random.normal(size=(len(seen), modes, 12, 2)).astype(np.float32)
            log_probs = random.normal(size=(len(seen), modes)).astype(np.float32)
            ledger.record(due, paths, log_probs, "forecaster", "1")
            made.update({(track, index): each for track, *each in zip(seen, paths, log_probs, strict=True)})
    assert {score.status for score in scores} == {"scored", "track_ended"}
    assert {score.steps for score in scores} > {12}
    for score in scores:
        index = score.made_at_step - START_STEP
        paths, log_probs = made[score.track_id, index]
        now, before = walked[score.track_id, index], walked[score.track_id, index - 1]
        straight = now + np.arange(1, score.steps + 1)[:, None] * (now - before)
        came = walked[score.track_id, index + 1 : index + 1 + score.steps]
        if not score.steps:
            assert score.ade is score.best_fde is score.constant_velocity_ade is None
            continue
        errors = np.linalg.norm(paths[:, : score.steps] - came, axis=-1)
        wanted = [errors[log_probs.argmax()].mean(), errors[log_probs.argmax(), -1]]
        wanted += [errors.mean(axis=-1).min(), errors[:, -1].min()]
        wanted += [np.linalg.norm(straight - came, axis=-1).mean(), np.linalg.norm(straight[-1] - came[-1])]
        got = [score.ade, score.fde, score.best_ade, score.best_fde]
        assert [*got, score.constant_velocity_ade, score.constant_velocity_fde] == pytest.approx(wanted, rel=1e-4)


def test_forecasts_of_an_ended_track_are_counted_not_dropped():
    tracks = {
        1: ((0.0, 0.0), (1.0, 0.0), lambda t: t <= 4.0),
        2: ((5.0, 5.0), (0.0, 1.0), lambda t: True),
    }
    forecasts, scores = walk(ForecastLedger("gate", "m"), 12.0, tracks=tracks)
    ended = [score for score in scores if score.status == "track_ended"]
    assert {score.track_id for score in ended} == {1}
    assert len(ended) == sum(forecast.track_id == 1 for forecast in forecasts) == 4
    assert [score.steps for score in ended] == [3, 2, 1, 0]
    assert ended[-1].ade is None
    assert ended[0].ade == pytest.approx(0.0, abs=1e-4)


def test_a_short_gap_is_bridged_and_a_long_one_starts_anew():
    short = {1: ((0.0, 0.0), (1.0, 0.0), lambda t: not 5.0 < t < 6.5)}
    _, scores = walk(ForecastLedger("gate", "m"), 12.0, tracks=short)
    assert {score.status for score in scores} == {"scored"}
    long = {1: ((0.0, 0.0), (1.0, 0.0), lambda t: not 4.0 < t < 8.0)}
    forecasts, _ = walk(ForecastLedger("gate", "m"), 11.5, tracks=long)
    steps = [forecast.made_at_step - START_STEP for forecast in forecasts]
    assert steps[:4] == [7, 8, 9, 10]
    assert steps[4] >= 20 + 7


def test_a_track_out_of_sight_when_its_horizon_passes_is_scored_when_it_returns():
    tracks = {
        1: ((0.0, 0.0), (1.0, 0.0), lambda t: True),
        2: ((5.0, 5.0), (0.0, 1.0), lambda t: not 8.0 < t < 9.8),
    }
    forecasts, scores = walk(ForecastLedger("gate", "m"), 16.0, tracks=tracks)
    assert {(score.status, score.steps) for score in scores} == {("scored", 12)}
    due = [f.made_at_step for f in forecasts if f.track_id == 2 and f.made_at_step + 12 <= START_STEP + 40]
    assert sorted(score.made_at_step for score in scores if score.track_id == 2) == due


@settings(deadline=None, max_examples=20)
@given(
    sights=st.lists(st.lists(st.booleans(), min_size=60, max_size=60), min_size=1, max_size=3),
    fps=st.sampled_from([2.5, 5.0]),
)
def test_every_forecast_is_accounted_for_once_however_tracks_come_and_go(sights, fps):
    """Tracks are seen or not in each half second; 6 s after the last sight nothing is open."""
    tracks = {
        number: ((float(number), 0.0), (0.3, -0.2), lambda t, seen=seen: t < 30 and seen[int(t * 2)])
        for number, seen in enumerate(sights)
    }
    ledger = ForecastLedger("gate", "m")
    forecasts, scores = walk(ledger, 36.0, fps=fps, tracks=tracks)
    key = lambda each: (each.made_at_step, each.track_id)  # noqa: E731
    assert sorted(map(key, scores)) == sorted(map(key, forecasts))
    assert ledger.open == 0
    for score in scores:
        # Until when the track was seen without a gap of more than 2 s, from the forecast on.
        times = [index / fps for index in range(int(36 * fps) + 1) if tracks[score.track_id][2](index / fps)]
        last = made = (score.made_at_step - START_STEP) * 0.4
        for t in (t for t in times if t > made - 1e-9):
            if t - last > 2 + 1e-9:
                break
            last = t
        came = min(int((last + 1e-9) / 0.4) - (score.made_at_step - START_STEP), 12)
        assert (score.status, score.steps) == ("scored" if came == 12 else "track_ended", came)
        assert (score.ade is None) == (came == 0)
        assert score.ade is None or score.ade == pytest.approx(0.0, abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(cut=st.integers(0, 80), gap=st.floats(0.5, 4.0), fps=st.sampled_from([2.5, 7.0, 15.0]))
def test_restore_continues_to_the_same_bytes(cut, gap, fps):
    tracks = {
        1: ((0.0, 0.0), (1.0, 0.3), lambda t: True),
        2: ((3.0, 1.0), (-0.5, 0.1), lambda t: not 3.0 < t < 3.0 + gap),
        9: ((9.0, 1.0), (-0.5, 0.9), lambda t: t > 2.0),
    }

    class Interrupted(ForecastLedger):
        frames = 0

        def advance(self, captured_at, frame, positions):
            if type(self).frames == cut:
                again = ForecastLedger.restore(self.state())
                self._live, self._open = again._live, again._open
            type(self).frames += 1
            return super().advance(captured_at, frame, positions)

    plain, interrupted = ForecastLedger("gate", "m"), Interrupted("gate", "m")
    assert walk(plain, 11.0, fps=fps, tracks=tracks)[1] == walk(interrupted, 11.0, fps=fps, tracks=tracks)[1]
    assert plain.state() == interrupted.state()


def test_a_state_of_the_first_release_is_taken_up_whole():
    """Forecasts of two models, two versions, of one and of two paths; one of three tracks out of sight."""
    golden = (GOLDEN / "forecast_ledger_v1.msgpack").read_bytes()
    ledger = ForecastLedger.restore(golden)
    assert (ledger.camera_id, ledger.units, ledger.open) == ("gate", "frame_heights", 19)
    assert ledger.state() == golden
    nobody = FrameTracks([], np.zeros((0, 4)), [], [], [])
    _, scores = ledger.advance(step_time(START_STEP + 40), nobody, np.zeros((0, 2)))
    models = {(score.model, score.model_version): score.made_at_step - START_STEP for score in scores}
    assert models == {("forecaster", "0"): 10, ("constant_velocity", "0"): 9, ("forecaster", "1"): 13}
    assert ledger.open == 0


def test_two_answers_for_one_step_are_kept_apart():
    """Who was missed in a frame is due for the same step a frame later, where another model may answer."""
    ledger, made = ForecastLedger("gate", "m"), []
    for sight in side_by_side():
        due, _ = ledger.advance(*sight)
        if due is not None:
            shape = (len(due.track_ids), 1 + len(made) % 2)
            made += ledger.record(due, np.zeros((*shape, 12, 2), np.float32), np.zeros(shape, np.float32), "m", "1")
    last, late = made[-2:]
    assert (last.made_at_step, len(last.paths)) != (late.made_at_step, len(late.paths))
    assert last.made_at_step == late.made_at_step
    assert ForecastLedger.restore(ledger.state()).state() == ledger.state()


def test_an_answer_that_cannot_be_kept_changes_nothing():
    ledger = ForecastLedger("gate", "m")
    for index in range(8):
        frame = FrameTracks([1], np.zeros((1, 4)), [1], [0], [0])
        due, _ = ledger.advance(step_time(START_STEP + index), frame, np.asarray([[0.1 * index, 0.0]]))
    before = ledger.state()
    with pytest.raises(InvalidInputError, match="forecasts of tracks 1 of gate: paths: row 0 is not finite"):
        ledger.record(due, np.full((1, 2, 12, 2), np.nan, np.float32), np.zeros((1, 2), np.float32), "forecaster", "1")
    assert ledger.state() == before


@pytest.mark.parametrize("data", [b"", b"\x00", b"junk" * 10, ForecastLedger("a", "m").state()[:-3]])
def test_damaged_state_is_refused(data):
    with pytest.raises(InvalidInputError, match="state"):
        ForecastLedger.restore(data)
