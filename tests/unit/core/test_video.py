from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError
from pathcast.core.video import decode, decode_evenly, evenly, read_claims
from tests.support.clips import write_video

SHADES = np.arange(0, 240, 24, np.uint8)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames, each brighter than the one before, with more red than blue."""
    frames = np.zeros((10, 32, 48, 3), np.uint8) + SHADES[:, None, None, None]
    frames[..., 2] //= 2
    write_video(tmp_path / "clip.avi", frames)
    return tmp_path / "clip.avi"


def shades(frames: list[np.ndarray]) -> list[int]:
    """Which frames of the clip these are."""
    return [int(np.abs(SHADES - frame[..., 0].mean()).argmin()) for frame in frames]


@pytest.mark.parametrize("first", [0, 1, 7, 10, 99])
def test_frames_come_in_order_from_any_number_on(clip: Path, first: int) -> None:
    assert shades(list(decode(clip, first))) == list(range(first, 10))


@pytest.mark.parametrize(("wanted", "numbers"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (30, list(range(10)))])
def test_frames_are_spread_evenly(clip: Path, wanted: int, numbers: list[int]) -> None:
    assert shades(list(decode_evenly(clip, wanted))) == numbers


def test_frames_are_rgb_and_claims_are_the_files(clip: Path) -> None:
    last = list(decode(clip))[-1]
    assert last.dtype == np.uint8
    assert last.shape == (32, 48, 3)
    assert last[..., 0].mean() > 1.5 * last[..., 2].mean()
    rate, frames = read_claims(clip)
    assert rate > 0
    assert frames == 10


def test_what_is_no_video_has_no_frames_and_no_claims(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"no video")
    assert list(decode(tmp_path / "a.avi")) == list(decode_evenly(tmp_path / "a.avi", 3)) == []
    with pytest.raises(InvalidInputError, match=r"a\.avi: expected a video file"):
        read_claims(tmp_path / "a.avi")


@given(st.integers(1, 300), st.integers(1, 60))
def test_even_positions_reach_both_ends(available: int, wanted: int) -> None:
    found = evenly(available, wanted)
    assert found[0] == 0
    assert len(found) == len(set(found)) == min(available, wanted)
    assert wanted == 1 or found[-1] == available - 1
    assert np.ptp(np.diff(found)) <= 1 if len(found) > 1 else True


def test_a_name_that_is_no_utf_8_is_refused(clip: Path) -> None:
    other = clip.rename(clip.with_name(os.fsdecode(b"\xe4.avi")))
    for read in (read_claims, lambda path: next(decode(path)), lambda path: next(decode_evenly(path, 3))):
        with pytest.raises(InvalidInputError, match=r"udce4\.avi'?: expected a name in UTF-8"):
            read(other)
