from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from pathcast.core import InvalidInputError, Observation
from pathcast.core.track import FrameTracks
from pathcast.forecasting.data_card import DataCard
from pathcast.forecasting.quality import TrackQuality
from pathcast.storage import training_tracks
from pathcast.storage.model_versions import (
    StoredModelVersion,
    TrainingTracks,
    read_model_version,
    training_tracks_of,
    write_model_version,
)
from pathcast.storage.reads import read_trajectories
from pathcast.storage.training_tracks import TrackSelection, stored_tracks
from pathcast.storage.writers import write_observations

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANY = TrackQuality(min_steps=1, max_speed_per_s=np.inf)
Observe = Callable[..., Observation]


@pytest.fixture
def walkers(camera_id: str, observe: Observe) -> Callable[..., list[Observation]]:
    """Frames of walkers given as track id → (class id, speed in units a frame, the frames that show it)."""

    def build(tracks: dict[int, tuple[int, float, Any]], frames: int, **changes: Any) -> list[Observation]:
        observations = []
        for sequence in range(frames):
            seen = [track_id for track_id, (_, _, shown) in tracks.items() if sequence in shown]
            count = len(seen)
            observations.append(
                replace(
                    observe(sequence, objects=0),
                    tracks=FrameTracks(
                        seen, np.zeros((count, 4)), np.ones(count), [tracks[i][0] for i in seen], [-1] * count
                    ),
                    positions=np.array([[tracks[i][1] * sequence, float(i)] for i in seen]).reshape(-1, 2),
                    **changes,
                )
            )
        return observations

    return build


def selection(camera_id: str, **changes: Any) -> TrackSelection:
    given = {"cameras": (camera_id,), "quality": ANY, **changes}
    return TrackSelection(START - timedelta(days=1), START + timedelta(days=1), **given)


@pytest.mark.parametrize("slice_s", [21_600, 7, 2])
def test_tracks_are_those_of_the_database_however_it_is_cut(
    connection: psycopg.Connection,
    camera_id: str,
    walkers: Any,
    slice_s: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_tracks, "SLICE", timedelta(seconds=slice_s))
    gone = set(range(200)) - set(range(20, 28)) - set(range(60, 100))
    write_observations(connection, walkers({1: (0, 0.1, range(200)), 2: (2, 0.2, gone), 5: (0, 0.1, [7])}, 200))
    shares: list[float] = []
    found, _, card = stored_tracks(connection, selection(camera_id), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    expected = read_trajectories(connection, camera_id, START - timedelta(days=1), START + timedelta(days=1))
    key = lambda each: (each.track_id, each.first_step)  # noqa: E731
    assert [
        (key(each), each.class_id, each.positions.tolist(), each.seen.tolist()) for each in sorted(found, key=key)
    ] == [(key(each), each.class_id, each.positions.tolist(), each.seen.tolist()) for each in sorted(expected, key=key)]
    assert [key(each)[0] for each in sorted(found, key=key)] == [1, 2, 2]
    assert [(drop.reason, drop.trajectories) for drop in card.drops] == [("without a grid step of 0.4 s", 1)]


def test_the_card_says_what_was_chosen_and_what_went(
    connection: psycopg.Connection, camera_id: str, walkers: Any
) -> None:
    tracks = {1: (0, 0.2, range(100)), 2: (0, 0.2, range(30)), 3: (2, 0.3, range(100)), 4: (0, 0.0, range(100))}
    observations = walkers(tracks, 100)
    # Track 1 jumps 30 m and walks on from there.
    for observation in observations[80:]:
        observation.positions.flags.writeable = True
        observation.positions[observation.tracks.track_ids == 1] += 30
    write_observations(connection, observations)
    wanted = TrackSelection.last_days(
        2, START + timedelta(days=1), cameras=(camera_id,), class_ids=(0,), quality=TrackQuality(max_standing_share=0.5)
    )
    found, everyone, card = stored_tracks(connection, wanted)
    assert [each.track_id for each in found] == [1, 4]
    assert [(each.track_id, len(each)) for each in everyone] == [(1, 36), (2, 11), (3, 36), (4, 36)]
    assert {drop.reason: drop.trajectories for drop in card.drops} == {
        "cut at 1 steps that are too fast": 1,
        "shorter than 20 steps": 2,
    }
    assert card.selection["days"] == 2
    assert card.selection["cameras"] == [camera_id]
    assert (card.tracks, card.units, card.clock) == (2, "m", "utc")
    assert card.recordings[0].since.startswith("2026-03-01T12:00:00")
    assert DataCard.from_dict(card.to_dict()) == card
    learned_from = (TrainingTracks(camera_id, wanted.since, wanted.until, 2),)
    assert training_tracks_of(card.to_dict()) == learned_from
    for _ in range(2):
        write_model_version(connection, StoredModelVersion(camera_id, "1", "a" * 64, card.to_dict()))
    version = read_model_version(connection, camera_id, "1")
    assert version is not None
    assert (version.training_tracks, DataCard.from_dict(version.data_card)) == (learned_from, card)
    with pytest.raises(InvalidInputError, match="expected since, until and recordings"):
        training_tracks_of({"layout": "platform"})
    assert camera_id in card.to_markdown()


def test_empty_selections_say_what_there_is(connection: psycopg.Connection, camera_id: str, walkers: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"expected tracks of {camera_id} in 2026"):
        stored_tracks(connection, selection(camera_id))
    write_observations(connection, walkers({1: (0, 0.1, range(40))}, 40))
    cases = [
        (selection(camera_id, class_ids=(5,)), "platform: empty selection: expected at least one trajectory"),
        (selection(camera_id, quality=TrackQuality()), r"empty selection.*shorter than 20 steps: 1"),
        (selection(camera_id, units="frame_heights"), "empty selection"),
        (selection(camera_id, cameras=(camera_id, "nowhere")), f"expected tracks of nowhere .*{camera_id}"),
    ]
    for wanted, message in cases:
        with pytest.raises(InvalidInputError, match=message):
            stored_tracks(connection, wanted)


def test_mixed_units_and_values_that_are_not_finite_are_named(
    connection: psycopg.Connection, camera_id: str, walkers: Any
) -> None:
    observations = walkers({1: (0, 0.1, range(40))}, 40)
    write_observations(connection, observations)
    later = [
        replace(each, captured_at=each.captured_at + timedelta(minutes=1), units="frame_heights", sequence=100 + index)
        for index, each in enumerate(observations)
    ]
    write_observations(connection, later)
    with pytest.raises(
        InvalidInputError, match=f"expected trajectories in one unit, got {camera_id}: frame_heights and m"
    ):
        stored_tracks(connection, selection(camera_id))
    assert stored_tracks(connection, selection(camera_id, units="m")).card.units == "m"
    connection.execute(
        "UPDATE tracks SET y = 'NaN' WHERE camera_id = %s AND captured_at = %s",
        (camera_id, observations[3].captured_at),
    )
    with pytest.raises(InvalidInputError, match=f"track 1 of {camera_id} at 2026-03-01T12:00:00.429.*finite x and y"):
        stored_tracks(connection, selection(camera_id))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"since": START, "until": START}, "since before until"),
        ({"since": START.replace(tzinfo=None)}, "since"),
        ({"units": "miles"}, "units"),
        ({"max_gap": timedelta(seconds=-1)}, "max_gap"),
    ],
)
def test_a_selection_that_makes_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        TrackSelection(**{"since": START - timedelta(days=1), "until": START, **changes})
    with pytest.raises(InvalidInputError, match="days: expected a number above 0, got 0"):
        TrackSelection.last_days(0, START)
