import pytest

from pathcast.core import InvalidInputError
from pathcast.tracking.settings import CameraMotionSettings, TrackerSettings, tracker_settings


def test_settings_are_replaced_by_name_also_in_groups() -> None:
    settings = tracker_settings({"confirm_hits": 2, "motion.measurement_std": 0.1, "appearance": None})
    assert (settings.confirm_hits, settings.motion.measurement_std, settings.appearance) == (2, 0.1, None)
    moving = TrackerSettings(camera_motion=CameraMotionSettings())
    assert tracker_settings({"camera_motion.corners": 9}, moving).camera_motion == CameraMotionSettings(corners=9)
    assert tracker_settings({}) == TrackerSettings()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nothing": 1}, "no setting nothing"),
        ({"motion.nothing": 1}, "no setting motion.nothing"),
        ({"foo.bar": 1}, "no setting foo.bar"),
        ({"high_score.x": 1}, "no setting high_score.x"),
        ({"camera_motion.width_px": 3}, "no setting camera_motion.width_px; camera_motion is off"),
        ({"high_score": 2}, r"high_score"),
        ({"appearance.least_cosine": 1}, r"least_cosine"),
        ({"confirm_hits": "many"}, r"confirm_hits"),
        ({"motion": 3}, r"motion"),
    ],
)
def test_what_is_no_setting_or_does_not_fit_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tracker_settings(values)
