import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.frame_quality import QualityLimits, checked_clip, good_frames
from tests.support.clips import moving_square

LIMITS = QualityLimits()


def test_dark_blurred_and_repeated_frames_are_left_out() -> None:
    clip = moving_square(3, moves=True)
    clip[1] = 2
    clip[3] = clip[2]
    clip[5] = clip[5].mean()
    good, dropped = good_frames(clip, LIMITS)
    assert good.tolist() == [True, False, True, False, True, False, True, True]
    assert dropped == {"dark": 1, "repeated": 1, "blurred": 1}
    kept = checked_clip("clip", clip, 5, LIMITS).frames
    assert np.array_equal(kept, clip[good])


def test_a_clip_where_little_moves_keeps_its_frames() -> None:
    assert good_frames(moving_square(4, moves=False), LIMITS)[0].all()


def test_a_short_clip_repeats_frames_in_order() -> None:
    clip = moving_square(5, moves=True)[:3]
    assert np.array_equal(checked_clip("clip", clip, 6, LIMITS).frames, clip[[0, 0, 1, 1, 2, 2]])


def test_a_clip_without_good_frames_says_why() -> None:
    with pytest.raises(InvalidInputError, match=r"a\.avi: expected 2 good frames or more, got 0 \(8 dark\)"):
        checked_clip("a.avi", np.zeros((8, 16, 16, 3), np.uint8), 4, LIMITS)
