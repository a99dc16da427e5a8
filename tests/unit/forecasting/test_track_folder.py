from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError, Trajectory
from pathcast.core.trajectory import FRAME_HEIGHTS
from pathcast.forecasting.data_card import describe
from pathcast.forecasting.quality import AS_RECORDED, Drop, TrackQuality
from pathcast.forecasting.sources import read_tracks
from pathcast.forecasting.track_folder import TRACKS_FILE, TrackSet, read_track_folder, write_track_folder


def trajectories(lengths: list[int]) -> list[Trajectory]:
    random = np.random.default_rng(3)
    return [
        Trajectory(
            f"gate-{number % 2}",
            number,
            number % 3,
            10**9 + number,
            random.normal(size=(n, 2)),
            FRAME_HEIGHTS,
            random.random(n) < 0.9,
        )
        for number, n in enumerate(lengths)
    ]


PLAIN = ("camera_id", "track_id", "class_id", "first_step", "units")


def plain(found: list[Trajectory]) -> list[tuple[object, ...]]:
    return [(*(getattr(each, name) for name in PLAIN), each.positions.tolist(), each.seen.tolist()) for each in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    given = trajectories([30, 25, 40])
    card = describe(
        given, source="platform", layout="platform", selection={"days": 2}, drops=[Drop("dull", 1, 9)], clock="utc"
    )
    write_track_folder(tmp_path / "tracks", TrackSet(given, given, card))
    return tmp_path / "tracks"


@pytest.mark.parametrize("parts", [[(0, 0, 30)], [(0, 0, 30), (2, 0, 9), (2, 11, 40), (3, 0, 1)]])
def test_what_is_written_is_read_to_the_bit(tmp_path: Path, parts: list[tuple[int, int, int]]) -> None:
    everyone = trajectories([30, 25, 40, 1])
    chosen = [everyone[number].part(start, stop) for number, start, stop in parts]
    card = describe(chosen, source="platform", layout="platform", clock="utc")
    write_track_folder(tmp_path, TrackSet(chosen, everyone, card))
    found = read_track_folder(tmp_path)
    assert plain(found.chosen) == plain(chosen)
    assert plain(found.everyone) == plain(everyone)
    assert found.card == card


def test_read_tracks_carries_the_card_on(folder: Path) -> None:
    found, _, card = read_tracks(folder)
    assert (len(found), card.layout, card.selection, card.clock) == (3, "platform", {"days": 2}, "utc")
    found, everyone, card = read_tracks(
        folder, quality=TrackQuality(min_steps=28, max_speed_per_s=AS_RECORDED.max_speed_per_s)
    )
    assert ([len(each) for each in found], [len(each) for each in everyone]) == ([30, 40], [30, 25, 40])
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
        "before others were kept": {name: values for name, values in arrays.items() if name != "chosen_from"},
        "beyond its trajectory": {**arrays, "chosen_length": arrays["chosen_length"] + 1},
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
