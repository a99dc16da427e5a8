"""How commands that run the tracker are told its settings."""

from __future__ import annotations

from collections.abc import Sequence

from pathcast.cli.key_values import pairs
from pathcast.tracking.settings import CameraMotionSettings, TrackerSettings, tracker_settings

SET_HELP = "KEY=VALUE: a setting of the tracker, as `pathcast tune tracker` finds them; repeatable."


def chosen_settings(texts: Sequence[str], camera_motion: bool) -> TrackerSettings:
    """The settings with those that `--set` gives; InvalidInputError where there is no such one, or it does not fit."""
    base = TrackerSettings(camera_motion=CameraMotionSettings() if camera_motion else None)
    return tracker_settings(pairs("--set", texts), base)
