from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core import InvalidInputError, Trajectory
from pathcast.core.trajectory import FRAME_HEIGHTS, METRES
from pathcast.forecasting.units import metres_per
from pathcast.forecasting.windows import Windows, concatenate, cut_windows


def trajectory(length: int, *, track: int = 1, start: int = 0, units: str = METRES) -> Trajectory:
    steps = np.arange(length, dtype=float)
    return Trajectory("gate", track, 0, start, np.stack([steps, steps * track], axis=1), units)


@pytest.mark.parametrize(
    ("length", "stride", "windows"), [(20, 1, 1), (25, 1, 6), (25, 2, 3), (39, 20, 1), (40, 20, 2)]
)
def test_windows_are_all_runs_of_twenty_steps(length: int, stride: int, windows: int) -> None:
    cut = cut_windows([trajectory(length)], stride=stride)
    assert cut.paths.shape == (windows, 20, 2)
    assert cut.observed.shape == (windows, 8, 2)
    assert cut.future.shape == (windows, 12, 2)
    np.testing.assert_array_equal(cut.paths[:, 0, 0], np.arange(windows) * stride)
    np.testing.assert_array_equal(cut.future[:, 0] - cut.observed[:, -1], np.ones((windows, 2)))


def test_short_trajectories_give_none_and_gaps_keep_the_track() -> None:
    cut = cut_windows([trajectory(19, track=1), trajectory(20, track=2), trajectory(21, track=2, start=90)])
    assert len(cut) == 3
    assert len(np.unique(cut.tracks)) == 1


@pytest.mark.parametrize(
    ("trajectories", "message"),
    [([], "no trajectory given"), ([trajectory(19), trajectory(3)], "the longest of 2 trajectories has 19")],
)
def test_an_empty_selection_is_an_error(trajectories: list[Trajectory], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        cut_windows(trajectories)


def test_mixed_units_are_an_error() -> None:
    with pytest.raises(InvalidInputError, match="one unit"):
        cut_windows([trajectory(20), trajectory(20, track=2, units=FRAME_HEIGHTS)])
    with pytest.raises(InvalidInputError, match="one unit"):
        concatenate([cut_windows([trajectory(20)]), cut_windows([trajectory(20, units=FRAME_HEIGHTS)])])


def test_windows_refuse_values_that_are_not_finite() -> None:
    paths = np.zeros((2, 20, 2))
    paths[1, 3, 0] = np.nan
    with pytest.raises(InvalidInputError, match="row 1 is not finite"):
        Windows(paths, [0, 0], METRES)


def test_a_camera_is_a_recording_and_parts_keep_theirs_apart() -> None:
    gate = trajectory(21)
    yard = Trajectory("yard", 1, 0, 0, trajectory(20).positions, METRES)
    both = cut_windows([gate, yard, gate])
    assert both.recordings.tolist() == [0, 0, 1, 0, 0]
    assert concatenate([both, cut_windows([yard])]).recordings.tolist() == [0, 0, 1, 0, 0, 2]
    assert both.select(np.array([2, 0])).recordings.tolist() == [1, 0]
    assert Windows(both.paths, both.tracks, METRES).recordings.tolist() == [0] * 5


def test_concatenate_keeps_tracks_apart() -> None:
    both = concatenate([cut_windows([trajectory(21)]), cut_windows([trajectory(20), trajectory(20, track=2)])])
    assert both.tracks.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(("length", "pace", "windows"), [(39, 2.0, 1), (38, 2.0, 0), (39, 1.0, 20), (40, 1.5, 11)])
def test_a_track_played_faster_gives_its_windows_between_the_same_points(
    length: int, pace: float, windows: int
) -> None:
    turning = np.sin(np.arange(length) / 5)
    walk = Trajectory("gate", 3, 0, 0, np.stack([np.arange(length, dtype=float), turning], axis=1), METRES)
    slow = cut_windows([trajectory(25, track=1), walk])
    played = slow.faster(pace)
    played = played.select(played.tracks == 1)
    assert len(played) == windows
    moments = np.arange(windows)[:, None] + pace * np.arange(20)
    np.testing.assert_allclose(played.paths[..., 0], moments, atol=1e-9)
    np.testing.assert_allclose(played.paths[..., 1], np.interp(moments, np.arange(length), turning), atol=1e-9)


def test_windows_that_do_not_follow_each_other_are_not_joined() -> None:
    whole = cut_windows([trajectory(40, track=2)])
    gap = whole.select(np.array([0, 1, 3, 4]))
    assert len(whole.faster(1.05)) == 20
    assert len(gap.faster(1.05)) == 2
    assert len(gap.faster(1.1)) == 0
    assert len(whole.select(np.zeros(0, np.int64)).faster(1.5)) == 0


def crossing(camera: str, *, track: int, start: int, length: int, y: float) -> Trajectory:
    """Someone who walks along x, a metre a step, at the step's number, `y` up."""
    return Trajectory(
        camera, track, 0, start, np.stack([start + np.arange(length), np.full(length, y)], axis=1), METRES
    )


def test_neighbours_are_of_the_same_camera_and_moment_however_short_their_track() -> None:
    short = crossing("gate", track=2, start=6, length=2, y=1.0)
    just_come = crossing("gate", track=3, start=7, length=9, y=2.0)
    elsewhere = crossing("yard", track=4, start=0, length=30, y=3.0)
    cut = cut_windows([crossing("gate", track=1, start=0, length=21, y=0.0), short, just_come, elsewhere])
    first, second, *_ = cut.select(cut.recordings == 0).neighbours
    assert first[:2].tolist() == [[7.0, 1.0, 1.0, 0.0, 1.0], [0.0] * 5]
    assert second[:2].tolist() == [[8.0, 2.0, 1.0, 0.0, 1.0], [0.0] * 5]


def test_parts_that_were_chosen_have_the_neighbours_of_all_that_was_there() -> None:
    everyone = [crossing("gate", track=track, start=2 * track, length=50, y=track) for track in range(3)]
    chosen = [everyone[0].part(0, 22), everyone[0].part(25, 46)]
    cut, whole = cut_windows(chosen, everyone=everyone), cut_windows(everyone)
    rows = [0, 1, 2, 25, 26]
    assert cut.neighbours[..., 4].sum(axis=1).tolist() == [2] * 5
    for name in ("paths", "neighbours", "neighbours_backwards"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name)[rows])
    assert not cut_windows(chosen).neighbours.any()


def test_nobodys_future_is_told() -> None:
    walker, other = (crossing("gate", track=track, start=0, length=20, y=track) for track in (0, 1))
    turned = other.positions.copy()
    turned[8:] = 99.0
    changed = Trajectory("gate", 1, 0, 0, turned, METRES)
    for name, values in cut_windows([walker, other]).inputs().items():
        np.testing.assert_array_equal(values[0], cut_windows([walker, changed]).inputs()[name][0])


def test_nobody_is_forecast_from_within_a_gap_that_was_bridged() -> None:
    seen = np.ones(30, np.bool_)
    seen[9:12] = False
    walker = crossing("gate", track=0, start=0, length=30, y=0.0)
    gap = Trajectory("gate", 0, 0, 0, walker.positions, METRES, seen)
    assert cut_windows([gap]).observed[:, -1, 0].tolist() == [7.0, 8.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]
    with pytest.raises(InvalidInputError, match="is seen at the 8th of them, the longest of 1 trajectories has 20"):
        cut_windows([gap.part(2, 22)])


def test_a_window_played_backwards_has_the_neighbours_of_a_world_played_backwards() -> None:
    random = np.random.default_rng(3)
    walks = [Trajectory("gate", k, 0, k, random.normal(size=(24, 2)).cumsum(axis=0), METRES) for k in range(12)]
    mirrored = [Trajectory("gate", k, 0, 11 - k, walk.positions[::-1], METRES) for k, walk in enumerate(walks)]
    ahead, backwards = cut_windows(walks), cut_windows(mirrored)
    order = np.lexsort((-np.arange(len(ahead)), ahead.tracks))
    np.testing.assert_array_equal(ahead.paths[order][:, ::-1], backwards.paths)
    np.testing.assert_allclose(ahead.neighbours_backwards[order], backwards.neighbours, atol=1e-6)


@pytest.mark.parametrize("pace", [1.0, 1.4, 2.0])
def test_neighbours_of_a_track_played_faster_walk_faster_too(pace: float) -> None:
    walker, other = (crossing("gate", track=track, start=0, length=45, y=track) for track in (0, 1))
    played = cut_windows([walker, other]).faster(pace)
    for neighbours, last, step in (
        (played.neighbours, played.paths[:, 7], pace),
        (played.neighbours_backwards, played.paths[:, 12], -pace),
    ):
        away = np.where(played.tracks == 0, 1.0, -1.0)
        wanted = np.stack([last[:, 0], last[:, 1] + away, np.full(len(last), step), last[:, 0] * 0, away**2], axis=1)
        np.testing.assert_allclose(neighbours[:, 0], wanted, atol=1e-5)
        np.testing.assert_array_equal(neighbours[:, 1:], 0)


def test_windows_in_frame_heights_are_told_in_metres_their_neighbours_too() -> None:
    random = np.random.default_rng(4)
    walks = [random.normal(size=(22, 2)).cumsum(axis=0) for _ in range(3)]
    metric, pictured = (
        cut_windows([Trajectory("gate", k, 0, 0, walk / metres_per(units), units) for k, walk in enumerate(walks)])
        for units in (METRES, FRAME_HEIGHTS)
    )
    for name, values in metric.inputs().items():
        np.testing.assert_allclose(pictured.inputs()[name], values, atol=1e-5)
    np.testing.assert_allclose(pictured.in_metres().neighbours_backwards, metric.neighbours_backwards, atol=1e-5)


def test_rows_keep_their_neighbours() -> None:
    cut = cut_windows([crossing("gate", track=k, start=0, length=20 + k, y=k) for k in range(4)])
    rows = np.array([3, 0])
    both = concatenate([cut, cut]).select(rows + len(cut))
    np.testing.assert_array_equal(both.neighbours, cut.neighbours[rows])
    np.testing.assert_array_equal(both.neighbours_backwards, cut.neighbours_backwards[rows])


@pytest.mark.parametrize("held_out", [0.01, 0.25, 0.99])
def test_a_split_shares_no_track_and_loses_no_window(held_out: float) -> None:
    windows = cut_windows([trajectory(20 + track, track=track) for track in range(10)])
    kept, held = windows.split_by_track(held_out, seed=3)
    assert not set(kept.tracks) & set(held.tracks)
    assert len(kept) + len(held) == len(windows)
    assert len(set(held.tracks)) == min(max(round(10 * held_out), 1), 9)


def test_one_track_cannot_be_split() -> None:
    with pytest.raises(InvalidInputError, match="2 tracks or more, got 1"):
        cut_windows([trajectory(30)]).split_by_track(0.25, seed=0)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=12), data=st.data(), seed=st.integers(0, 99))
def test_folds_share_no_track_and_hold_every_window_out_once(sizes: list[int], data: st.DataObject, seed: int) -> None:
    k = data.draw(st.integers(2, len(sizes)))
    tracks = data.draw(st.permutations([track for track, size in enumerate(sizes) for _ in range(size)]))
    paths = np.zeros((len(tracks), 20, 2))
    paths[:, 0, 0] = np.arange(len(tracks))
    windows = Windows(paths, tracks, METRES)
    folds = windows.folds_by_track(k, seed)
    assert len(folds) == k
    for learn, held in folds:
        assert not set(learn.tracks) & set(held.tracks)
        assert len(held) > 0
        assert len(learn) + len(held) == len(windows)
    held_out = np.concatenate([held.paths[:, 0, 0] for _, held in folds])
    assert sorted(held_out) == list(range(len(tracks)))
    again = windows.folds_by_track(k, seed)
    assert all(np.array_equal(one.paths, other.paths) for (_, one), (_, other) in zip(folds, again, strict=True))
    # No two folds differ by more than the longest track.
    counts = [len(held) for _, held in folds]
    assert max(counts) - min(counts) <= max(sizes)


@pytest.mark.parametrize(
    ("tracks", "k", "message"),
    [(3, 1, "folds: expected 2 or more, got 1"), (3, 4, "4 tracks or more, one for each fold, got 3")],
)
def test_folds_that_cannot_be_made(tracks: int, k: int, message: str) -> None:
    windows = cut_windows([trajectory(25, track=track) for track in range(tracks)])
    with pytest.raises(InvalidInputError, match=message):
        windows.folds_by_track(k, seed=0)
