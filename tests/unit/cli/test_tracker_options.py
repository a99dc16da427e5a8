from __future__ import annotations

import msgspec
import pytest

from pathcast.cli.tracker_options import chosen_settings
from pathcast.core.errors import InvalidInputError
from pathcast.tracking.settings import CameraMotionSettings, MotionSettings, TrackerSettings


@pytest.mark.parametrize("moving", [None, CameraMotionSettings()])
def test_what_is_set_replaces_the_default_and_the_rest_stays(moving: CameraMotionSettings | None) -> None:
    settings = chosen_settings(["new_score=0.95", "motion.size_ratio=0.4"], camera_motion=moving is not None)
    usual = TrackerSettings(camera_motion=moving)
    assert settings == msgspec.structs.replace(usual, new_score=0.95, motion=MotionSettings(size_ratio=0.4))
    assert chosen_settings([], camera_motion=moving is not None) == usual


@pytest.mark.parametrize("text", ["high_score=2", "motion.speed=1", "no_such=1", "new_score"])
def test_a_setting_that_is_none_or_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        chosen_settings([text], camera_motion=False)
