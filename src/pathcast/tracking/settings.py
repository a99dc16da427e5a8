"""Every number of the tracker, in one frozen place.

The defaults were chosen on the sequences PETS09-S2L1, TUD-Campus and KITTI-17 alone, as they are and with
synthetic camera motion, missed detections and clutter added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from pathcast.core.errors import InvalidInputError

Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
BelowOne = Annotated[float, msgspec.Meta(ge=0, lt=1)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Similarity = Annotated[float, msgspec.Meta(gt=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class MotionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Kalman filter's noise; lengths in box heights, times in seconds.

    `measurement_std`: of a detection of score 1; one of score s has 1 + `score_doubt` (1 - s) times that.
    `initial_speed_std` (heights/s) and `acceleration_std` (heights/s^1.5, white noise) of the centre; width
    and height have `size_ratio` times these. `velocity_decay_s`, `size_decay_s`: time constants with which
    the velocities of centre and size die away.
    """

    measurement_std: Positive = 0.0419
    score_doubt: NonNegative = 3.85
    initial_speed_std: Positive = 0.473
    acceleration_std: Positive = 0.309
    velocity_decay_s: Positive = 18.4
    size_decay_s: Positive = 0.313
    size_ratio: Positive = 0.489


class SwaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the frame is taken to have shifted as a whole; see `sway.camera_shift`.

    At least `least_objects` tracks, last seen at most `recent_s` seconds before the previous frame, must match
    in the first stage, which is done anew where the shift reaches `least_shift_px` pixels. `caution` weighs
    chance, `rate` is how fast the camera's sway is learnt, per frame.
    """

    least_objects: Count = 4
    recent_s: NonNegative = 0.5
    least_shift_px: NonNegative = 0.5
    caution: NonNegative = 3.37
    rate: Ratio = 0.101


class AppearanceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How embeddings of detections (see `Detections.embeddings`) take part; cosines are of unit vectors.

    Among boxes that are similar by place, appearance has the share `weight` of what a match is worth, and pairs of
    a cosine below `least_cosine` are not matched (StrongSORT, Du et al. 2023). A track's embedding is a running
    mean, of which each detection from `TrackerSettings.high_score` on replaces the part 1 - `momentum` (FairMOT,
    Zhang et al. 2021).

    Confirmed tracks are remembered for `memory_s` seconds and come back at a cosine of `recall_cosine`, where
    the object may have got to since: `reach` box heights and `reach_per_s` more each second. A long memory brings
    more strangers back than friends, unless the model tells people apart well. Weight and momentum are
    the usual ones of that work; the rest was chosen on PETS09-S2L1 with OSNet's smallest model, the gate also with
    a detector's own vectors.
    """

    weight: Ratio = 0.5
    least_cosine: BelowOne = 0.65
    momentum: Ratio = 0.9
    memory_s: Positive = 3.0
    recall_cosine: Ratio = 0.8
    reach: Positive = 1.0
    reach_per_s: NonNegative = 1.0


class CameraMotionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the camera's own motion is read from the images; see `camera_motion.CameraMotion`.

    Images are shrunk to `width_px`; there up to `corners` corners at least `distance_px` apart are followed, and
    the motion counts where `least_inliers` of them agree with it within `tolerance_px`.
    """

    width_px: Count = 320
    corners: Count = 300
    distance_px: Positive = 6.0
    tolerance_px: Positive = 1.0
    least_inliers: Count = 12


class TrackerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tracks are born, matched, kept and reported.

    Scores: detections from `high_score` on may join any track, those from `low_score` on only tracks last
    seen at most `low_lost_s` seconds before the previous frame; one from `new_score` on that joins none
    opens a tentative track. That is confirmed, and gets its id, at its `confirm_hits`-th detection, or at
    once where the score reaches `instant_score`.

    Matching: `buffer_*` is the growth of the boxes, as a ratio of their size, and `least_*` the least
    similarity, in the four stages `first` (high scores to confirmed tracks), `second` (low scores),
    `recovery` (high scores to where confirmed tracks are expected or were last seen) and `tentative`.
    `height_power` is how much the agreement of heights counts.

    Keeping: a confirmed track ends `max_lost_s` seconds after its last detection, a tentative one at the first
    frame without one.

    Reporting: a confirmed track of `coast_hits` detections or more is still reported, where it is expected,
    for `coast_s` seconds without one.

    `appearance` counts where detections have embeddings, `camera_motion` where it is given and the frames' images
    are there; None turns either off.
    """

    motion: MotionSettings = MotionSettings()
    sway: SwaySettings = SwaySettings()
    high_score: Ratio = 0.66
    low_score: Ratio = 0.1
    new_score: Ratio = 0.649
    confirm_hits: Count = 4
    instant_score: NonNegative = 0.974
    max_lost_s: Positive = 3.02
    buffer_first: NonNegative = 0.4
    buffer_second: NonNegative = 0.15
    buffer_recovery: NonNegative = 1.0
    least_first: Similarity = 0.136
    least_second: Similarity = 0.109
    least_recovery: Similarity = 0.404
    least_tentative: Similarity = 0.123
    low_lost_s: NonNegative = 0.354
    height_power: NonNegative = 2.0
    coast_s: NonNegative = 0.129
    coast_hits: Count = 6
    appearance: AppearanceSettings | None = AppearanceSettings()
    camera_motion: CameraMotionSettings | None = None


_DEFAULTS = TrackerSettings()


def tracker_settings(values: Mapping[str, Any], base: TrackerSettings = _DEFAULTS) -> TrackerSettings:
    """The settings `base` with `values` in their place; a dot leads into a group of settings.

    Raises InvalidInputError where there is no such setting, as in a group that is off, or the value does not fit.

    >>> tracker_settings({"motion.measurement_std": 0.1, "confirm_hits": 2}).motion.measurement_std
    0.1
    """
    settings: dict[str, Any] = msgspec.to_builtins(base)
    for name, value in values.items():
        group, _, own = name.rpartition(".")
        place = settings.get(group) if group else settings
        if not isinstance(place, dict) or own not in place:
            off = f"; {group} is off" if group in settings and place is None else ""
            raise InvalidInputError(f"tracker: no setting {name}{off}", hint=f"one of {', '.join(_names(settings))}")
        place[own] = value
    try:
        return msgspec.convert(settings, TrackerSettings)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"tracker settings: {error}") from error


def _names(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        yield from (f"{name}.{own}" for own in value) if isinstance(value, dict) else (name,)
