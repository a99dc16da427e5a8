from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError, Trajectory
from pathcast.core.trajectory import FRAME_HEIGHTS
from pathcast.forecasting.data_card import describe
from pathcast.forecasting.quality import AS_RECORDED, Drop, TrackQuality
from pathcast.forecasting.sources import read_tracks
from pathcast.forecasting.track_folder import TRACKS_FILE, read_track_folder, write_track_folder


def trajectories(lengths: list[int]) -> list[Trajectory]:
    random = np.random.default_rng(3)
    return [
        Trajectory(f"gate-{number % 2}", number, number % 3, 10**9 + number, random.normal(size=(n, 2)), FRAME_HEIGHTS)
        for number, n in enumerate(lengths)
    ]


def plain(found: list[Trajectory]) -> list[tuple[object, ...]]:
    return [
        (each.camera_id, each.track_id, each.class_id, each.first_step, each.positions.tolist(), each.units)
        for each in found
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    given = trajectories([30, 25, 40])
    card = describe(
        given, source="platform", layout="platform", selection={"days": 2}, drops=[Drop("dull", 1, 9)], clock="utc"
    )
    write_track_folder(tmp_path / "tracks", given, card)
    return tmp_path / "tracks"


@pytest.mark.parametrize("lengths", [[1], [30, 25, 40, 1]])
def test_what_is_written_is_read_to_the_bit(tmp_path: Path, lengths: list[int]) -> None:
    given = trajectories(lengths)
    card = describe(given, source="platform", layout="platform", clock="utc")
    write_track_folder(tmp_path, given, card)
    found, stored = read_track_folder(tmp_path)
    assert plain(found) == plain(given)
    assert stored == card


def test_read_tracks_carries_the_card_on(folder: Path) -> None:
    found, card = read_tracks(folder)
    assert (len(found), card.layout, card.selection, card.clock) == (3, "platform", {"days": 2}, "utc")
    found, card = read_tracks(folder, quality=TrackQuality(min_steps=28, max_speed_per_s=AS_RECORDED.max_speed_per_s))
    assert [len(each) for each in found] == [30, 40]
    assert [(drop.reason, drop.trajectories) for drop in card.drops] == [("dull", 1), ("shorter than 28 steps", 1)]
    assert (card.selection["days"], card.selection["min_steps"], card.tracks) == (2, 28, 2)
    with pytest.raises(InvalidInputError, match="empty selection"):
        read_tracks(folder, quality=TrackQuality(min_steps=50))


def test_damaged_folders_are_named(folder: Path) -> None:
    arrays = dict(np.load(folder / TRACKS_FILE))
    broken = {
        "no-name": {name: values for name, values in arrays.items() if name != "track"},
        "too-short": {**arrays, "positions": arrays["positions"][1:]},
        "nan": {**arrays, "positions": arrays["positions"] * np.nan},
        "nameless": {**arrays, "names": arrays["names"][:1]},
    }
    for values in broken.values():
        np.savez(folder / TRACKS_FILE, **values)
        with pytest.raises(InvalidInputError, match=TRACKS_FILE):
            read_tracks(folder)
    (folder / TRACKS_FILE).write_bytes(b"no archive")
    with pytest.raises(InvalidInputError, match=TRACKS_FILE):
        read_tracks(folder)
    (folder / "tracks.json").write_text("{")
    with pytest.raises(InvalidInputError, match="tracks.json"):
        read_tracks(folder)
