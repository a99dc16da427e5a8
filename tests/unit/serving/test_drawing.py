from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from pathcast.core import Detections, Forecast, FrameTracks, Observation
from pathcast.core.camera import Camera
from pathcast.serving.drawing import PATH_FRAMES, Annotator

START = datetime(2024, 1, 1, tzinfo=UTC)
CAMERA = Camera("plaza")


def observation(frame: int, ids: tuple[int, ...] = (1, 2), top: int = 30) -> Observation:
    boxes = [[20 * identity + frame, top, 20 * identity + frame + 10, top + 30] for identity in ids]
    tracks = FrameTracks(ids, boxes, [0.9] * len(ids), [0] * len(ids), range(len(ids)))
    forecasts = ()
    if frame % 4 == 0 and 1 in ids:
        ahead = np.linspace(0, 0.5, 12)
        paths = np.stack([np.column_stack((0.2 + ahead, 0.6 + slope * ahead)) for slope in (0.0, 0.4)])
        forecasts = (
            Forecast("plaza", 1, 0, 10 + frame, [0.2, 0.6], [0, 0], paths, [-0.3, -1.4], "frame_heights", "m", "1"),
        )
    moment = START + timedelta(seconds=frame / 10)
    positions = CAMERA.positions(tracks.xyxy, 120)
    return Observation(
        "plaza", frame, moment, 160, 120, "d", "1", Detections.empty(), tracks, positions, CAMERA.units, forecasts
    )


def test_a_restored_annotator_draws_the_same_pictures() -> None:
    whole, cut = Annotator(CAMERA), Annotator(CAMERA)
    for frame in range(30):
        if frame in (1, 13, 22):
            state = cut.state()
            cut = Annotator(CAMERA)
            cut.restore(state)
        ids = (1, 2) if frame % 7 else (2,)
        blank = np.zeros((120, 160, 3), np.uint8)
        drawn = whole.draw(blank.copy(), observation(frame, ids))
        np.testing.assert_array_equal(drawn, cut.draw(blank, observation(frame, ids)))
    assert drawn.any()


def test_forecasts_are_drawn_and_tracks_out_of_sight_forgotten() -> None:
    annotator = Annotator(CAMERA)
    blank = np.zeros((120, 160, 3), np.uint8)
    with_fan, without = (
        annotator.draw(blank.copy(), observation(0)),
        Annotator(CAMERA).draw(blank.copy(), observation(1)),
    )
    assert (with_fan[60:, 60:].any(), without[60:, 60:].any()) == (True, False)
    small = len(Annotator(CAMERA).state())
    for frame in range(1, PATH_FRAMES + 1):
        annotator.draw(blank.copy(), observation(frame, ()))
    assert len(annotator.state()) <= small + 4


def test_the_path_walked_is_drawn_for_as_many_frames_as_told() -> None:
    annotator = Annotator(CAMERA)
    early_foot = (60, 20 + 2 + 5)
    for frame in range(PATH_FRAMES * 2):
        drawn = annotator.draw(np.zeros((120, 160, 3), np.uint8), observation(frame, (1,)))
        if frame in (20, PATH_FRAMES - 2):
            assert drawn[early_foot].any()
    assert not drawn[early_foot].any()


def test_the_identity_of_a_box_at_the_upper_edge_is_in_the_picture() -> None:
    drawn = Annotator(CAMERA).draw(np.zeros((120, 160, 3), np.uint8), observation(1, (1,), top=0))
    beside_the_digit = (4, 20 + 1 + 12)
    assert drawn[beside_the_digit].any()
