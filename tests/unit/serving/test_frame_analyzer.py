"""The analyzer's order, grouping, duplicates and state, with a detector that reads a frame's brightness."""

import struct
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core import Detections, Frame, FrameTracks, Observation, ServiceUnavailableError
from pathcast.core.camera import Camera
from pathcast.core.ground_plane import HomographyPlane
from pathcast.messaging.jpeg import jpeg_size
from pathcast.serving.blocks import whole_blocks
from pathcast.serving.frame_analyzer import Duplicate, FrameAnalyzer, Rejected
from pathcast.serving.frame_statistics import mean_appearance
from pathcast.serving.remote_models import constant_velocity
from pathcast.tracking.settings import AppearanceSettings, TrackerSettings

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
CAMERAS = {"near": Camera("near"), "far": Camera("far", HomographyPlane(np.diag([0.1, 0.1, 1.0])))}
FRAMES_PER_SECOND = 5
SETTINGS = TrackerSettings()


class BrightnessDetector:
    """One box per frame, further right the brighter the frame is."""

    model = "brightness"

    def detect(self, images):
        shades = [int(image[0, 0, 0]) for image in images]
        return [Detections([[shade, 10, shade + 20, 50]], [0.9], [0]) for shade in shades], "4"


class StraightForecaster:
    served = False

    def forecast(self, observed, neighbours):
        return constant_velocity(observed)


def an_analyzer(**options):
    return FrameAnalyzer(
        BrightnessDetector(), StraightForecaster(), CAMERAS.__getitem__, lambda _: nullcontext(), SETTINGS, **options
    )


def a_frame(camera_id, index, jpeg=None):
    if jpeg is None:
        image = np.full((64, 96, 3), min(index, 250), np.uint8)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    moment = START + timedelta(seconds=index / FRAMES_PER_SECOND)
    return Frame(camera_id, index, moment, 96, 64, jpeg, "00-" + "1" * 32 + "-" + "2" * 16 + "-01")


def plain(outcomes):
    """Outcomes as comparable values."""
    return [
        (o.camera_id, o.sequence, o.tracks.track_ids.tolist(), o.tracks.xyxy.tolist(), o.positions.tolist(),
         [(f.track_id, f.made_at_step, f.paths.tolist()) for f in o.forecasts], o.scores)
        if isinstance(o, Observation) else o
        for o in outcomes
    ]  # fmt: skip


INTERLEAVED = [a_frame(camera_id, index) for index in range(60) for camera_id in ("near", "far")]
UNDISTURBED = plain(an_analyzer().analyze(INTERLEAVED))


def test_a_forecaster_is_asked_in_metres_and_answers_are_in_the_cameras_units():
    class Noting(StraightForecaster):
        asked = []

        def forecast(self, observed, neighbours):
            self.asked.append(observed[0])
            return super().forecast(observed, neighbours)

    analyzer = FrameAnalyzer(BrightnessDetector(), Noting(), CAMERAS.__getitem__, lambda _: nullcontext(), SETTINGS)
    seen = [each for each in analyzer.analyze([a_frame("near", index) for index in range(30)]) if each.forecasts]
    for (forecast,), asked in zip((each.forecasts for each in seen), Noting.asked, strict=True):
        np.testing.assert_allclose(asked[-1], 20 * forecast.origin, rtol=1e-6)
        np.testing.assert_allclose(forecast.paths[0, 0] - forecast.origin, forecast.velocity, atol=1e-6)


@pytest.mark.parametrize("below", [0.0, 1e-9], ids=["on the horizon", "next to it"])
def test_who_stands_on_the_horizon_is_nowhere_and_the_others_go_on(below):
    class Two(BrightnessDetector):
        def detect(self, images):
            return [Detections([[10, 10, 20, 50], [40, 10, 50, 60]], [0.9, 0.9], [0, 0]) for _ in images], "4"

    horizon_at_50 = Camera("far", HomographyPlane([[1, 0, 0], [0, 1, 0], [0, 1, -50 + below]]))
    analyzer = FrameAnalyzer(Two(), StraightForecaster(), lambda _: horizon_at_50, lambda _: nullcontext(), SETTINGS)
    seen = analyzer.analyze([a_frame("far", index) for index in range(30)])
    first, *_ = seen
    assert first.tracks.xyxy.tolist() == [[40, 10, 50, 60]]
    assert first.positions.tolist() == [pytest.approx([4.5, 6])]
    assert all(np.isfinite(each.positions).all() and len(each.positions) == len(each.tracks) for each in seen)
    assert {forecast.track_id for each in seen for forecast in each.forecasts} == set(first.tracks.track_ids.tolist())


def test_each_camera_keeps_its_own_identities_units_and_model_versions():
    outcomes = an_analyzer().analyze(INTERLEAVED)
    assert [(o.camera_id, o.sequence) for o in outcomes] == [(f.camera_id, f.sequence) for f in INTERLEAVED]
    last = {o.camera_id: o for o in outcomes}
    assert {camera: o.units for camera, o in last.items()} == {"near": "frame_heights", "far": "m"}
    assert all(o.tracks.track_ids.tolist() == [1] for o in last.values())
    assert {o.detector_version for o in outcomes} == {"4"}
    assert last["near"].traceparent == INTERLEAVED[0].traceparent
    assert sum(len(o.forecasts) for o in outcomes) > 30
    assert {s.status for o in outcomes for s in o.scores} == {"scored"}
    # A frame's shade is its index, so a JPEG away from it is its brightness.
    assert [o.brightness for o in outcomes] == pytest.approx([min(f.sequence, 250) for f in INTERLEAVED], abs=2)
    assert {o.sharpness for o in outcomes} == {0.0}


def test_without_statistics_the_rest_stays_the_same():
    outcomes = an_analyzer(statistics=False).analyze(INTERLEAVED)
    assert {(o.brightness, o.sharpness) for o in outcomes} == {(None, None)}
    assert plain(outcomes) == UNDISTURBED


@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(1, len(INTERLEAVED) - 1), max_size=6))
def test_results_do_not_depend_on_how_frames_are_grouped(cuts):
    analyzer = an_analyzer()
    edges = [0, *sorted(set(cuts)), len(INTERLEAVED)]
    outcomes = [o for a, b in zip(edges, edges[1:], strict=False) for o in analyzer.analyze(INTERLEAVED[a:b])]
    assert plain(outcomes) == UNDISTURBED


@settings(deadline=None, max_examples=15)
@given(cut=st.integers(0, len(INTERLEAVED)), behind=st.integers(0, 20))
def test_a_restored_analyzer_emits_the_same_records(cut, behind):
    checkpoint = max(cut - behind, 0)
    first = an_analyzer()
    before = first.analyze(INTERLEAVED[:checkpoint])
    state = first.state(CAMERAS)
    first.analyze(INTERLEAVED[checkpoint:cut])  # lost with the process
    second = an_analyzer()
    second.restore(state)
    assert plain(before) + plain(second.analyze(INTERLEAVED[checkpoint:])) == UNDISTURBED


def test_known_pixels_are_not_decoded_and_results_bear_the_cameras_own_id():
    named = Camera("gate")
    analyzer = FrameAnalyzer(
        BrightnessDetector(), StraightForecaster(), lambda _: named, lambda _: nullcontext(), TrackerSettings()
    )
    frames = [a_frame("near", index, jpeg=b"" if index % 2 else None) for index in range(60)]
    pixels = [np.full((64, 96, 3), index, np.uint8) if index % 2 else None for index in range(60)]
    outcomes = analyzer.analyze(frames, pixels)
    expected = [outcome for outcome in UNDISTURBED if outcome[0] == "near"]
    assert [row[2:5] for row in plain(outcomes)] == [row[2:5] for row in expected]
    assert {o.camera_id for o in outcomes} == {"gate"}
    assert {each.camera_id for o in outcomes for each in (*o.forecasts, *o.scores)} == {"gate"}


def test_a_forgotten_camera_starts_again():
    analyzer = an_analyzer()
    first = analyzer.analyze([a_frame("near", index) for index in range(5)])
    analyzer.forget("near")
    assert plain(analyzer.analyze([a_frame("near", index) for index in range(5)])) == plain(first)
    analyzer.forget("never seen")


def test_a_detector_that_fails_leaves_everything_as_it_was():
    detector = BrightnessDetector()
    analyzer = FrameAnalyzer(
        detector, StraightForecaster(), CAMERAS.__getitem__, lambda _: nullcontext(), TrackerSettings()
    )
    before = analyzer.analyze(INTERLEAVED[:20])

    def fail(images):
        raise ServiceUnavailableError("away")

    detector.detect = fail
    with pytest.raises(ServiceUnavailableError):
        analyzer.analyze(INTERLEAVED[20:30])
    del detector.detect
    assert plain(before) + plain(analyzer.analyze(INTERLEAVED[20:])) == UNDISTURBED


@pytest.mark.parametrize(("count", "padded"), [(1, 8), (7, 8), (8, 8), (9, 16)])
def test_forecasts_are_asked_in_whole_blocks(count, padded):
    observed = np.arange(count * 16, dtype=np.float32).reshape(count, 8, 2)
    blocks = whole_blocks(observed)
    assert blocks.shape == (padded, 8, 2)
    assert (blocks[:count] == observed).all()
    assert (blocks[count:] == observed[-1]).all()


def test_duplicates_and_old_frames_are_told_apart():
    analyzer = an_analyzer()
    analyzer.analyze([a_frame("near", index) for index in (5, 6, 7)])
    again, old, new = analyzer.analyze([a_frame("near", 6), a_frame("near", 4), a_frame("near", 8)])
    assert again == Duplicate()
    assert "older" in old.reason
    assert old.late
    assert new.sequence == 8


@pytest.mark.parametrize("damage", [lambda jpeg: jpeg[:60], lambda _: b"not a picture"])
def test_an_unreadable_frame_is_rejected_and_the_camera_goes_on(damage):
    analyzer = an_analyzer()
    bad = a_frame("near", 1, jpeg=damage(a_frame("near", 1).jpeg))
    first, rejected, last = analyzer.analyze([a_frame("near", 0), bad, a_frame("near", 2)])
    assert isinstance(rejected, Rejected)
    assert "JPEG" in rejected.reason
    assert not rejected.late
    assert (first.sequence, last.sequence) == (0, 2)


def test_a_forecaster_that_has_served_is_required_after_a_restart():
    forecaster = StraightForecaster()
    forecaster.served = True
    camera = CAMERAS.__getitem__
    first = FrameAnalyzer(BrightnessDetector(), forecaster, camera, lambda _: nullcontext(), TrackerSettings())
    again = StraightForecaster()
    second = FrameAnalyzer(BrightnessDetector(), again, camera, lambda _: nullcontext(), TrackerSettings())
    second.restore(first.state(CAMERAS))
    assert again.served


def test_a_changed_calibration_keeps_identities_and_starts_trajectories_again():
    first = an_analyzer()
    first.analyze([a_frame("near", index) for index in range(30)])
    calibrated = Camera("near", HomographyPlane(np.diag([0.1, 0.1, 1.0])))
    second = FrameAnalyzer(
        BrightnessDetector(), StraightForecaster(), lambda _: calibrated, lambda _: nullcontext(), TrackerSettings()
    )
    assert second.restore(first.state(["near"])) == ("near",)
    outcomes = second.analyze([a_frame("near", index) for index in range(30, 34)])
    assert {o.units for o in outcomes} == {"m"}
    assert outcomes[-1].tracks.track_ids.tolist() == [1]
    assert not any(o.forecasts or o.scores for o in outcomes)


class LookingDetector:
    """Two people who change places in one frame; their embeddings tell them apart."""

    model = "looking"
    version, length = "1", 2

    def detect(self, images):
        found = []
        for image in images:
            near, far = ([20, 10, 40, 50], [24, 10, 44, 50])[:: -1 if image[0, 0, 0] >= 30 else 1]
            vectors = np.eye(2, self.length, dtype=np.float32)
            found.append(Detections([near, far], [0.99, 0.98], [0, 0], vectors))
        return found, self.version


def looking_analyzer(detector, settings):
    return FrameAnalyzer(detector, StraightForecaster(), CAMERAS.__getitem__, lambda _: nullcontext(), settings)


def whose(outcome):
    """The identity of each detection, in the detector's order."""
    taken = outcome.tracks.detection_indices.tolist()
    return [outcome.tracks.track_ids.tolist()[taken.index(row)] for row in range(2)]


@pytest.mark.parametrize(("appearance", "expected"), [(AppearanceSettings(weight=0.9), [1, 2]), (None, [2, 1])])
def test_what_people_look_like_counts_where_the_detector_says_it(appearance, expected):
    analyzer = looking_analyzer(LookingDetector(), TrackerSettings(appearance=appearance))
    outcomes = analyzer.analyze([a_frame("near", index) for index in (27, 28, 29, 30)])
    assert [whose(outcome) for outcome in outcomes[:3]] == [[1, 2]] * 3
    assert whose(outcomes[3]) == expected
    assert all(outcome.detections.embeddings is None for outcome in outcomes)
    assert [outcome.appearance.tolist() for outcome in outcomes] == [[0.5, 0.5]] * 4


def test_only_what_is_tracked_says_what_a_frame_looks_like():
    """Of what is hardly believed, and of detections without a vector, nothing comes in; the rest counts alike."""
    boxes = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]
    found = Detections(boxes, [0.9, 0.8, 0.1], [0, 0, 0], [[3, 0, 0], [0, 0, 2], [0, 9, 0]])
    tracks = FrameTracks([1, 2, 3], boxes, [0.9, 0.8, 0.7], [0, 0, 0], [1, 0, -1])
    assert mean_appearance(found, tracks).tolist() == [0.5, 0, 0.5]
    blind = Detections(boxes, found.scores, found.class_ids, np.zeros((3, 4)))
    without = Detections(boxes, found.scores, found.class_ids)
    lost = FrameTracks([3], boxes[:1], [0.7], [0], [-1])
    assert [mean_appearance(*each) for each in ((blind, tracks), (without, tracks), (found, lost))] == [None] * 3


@pytest.mark.parametrize("restored", [False, True])
def test_another_version_of_the_detector_looks_anew(restored):
    detector = LookingDetector()
    analyzer = looking_analyzer(detector, TrackerSettings())
    analyzer.analyze([a_frame("near", index) for index in range(5)])
    if restored:
        state = analyzer.state(["near"])
        analyzer = looking_analyzer(detector, TrackerSettings())
        analyzer.restore(state)
    detector.version, detector.length = "2", 3
    (outcome,) = analyzer.analyze([a_frame("near", 5)])
    assert whose(outcome) == [1, 2]


def test_a_restored_analyzer_remembers_what_people_look_like():
    analyzer = looking_analyzer(LookingDetector(), TrackerSettings(appearance=AppearanceSettings(weight=0.9)))
    analyzer.analyze([a_frame("near", index) for index in (27, 28, 29)])
    again = looking_analyzer(LookingDetector(), TrackerSettings())
    again.restore(analyzer.state(["near"]))
    (outcome,) = again.analyze([a_frame("near", 30)])
    assert whose(outcome) == [1, 2]


def test_a_restored_analyzer_has_the_trackers_settings_of_now():
    before = an_analyzer()
    before.analyze([a_frame("near", 0)])
    now = TrackerSettings(confirm_hits=7)
    after = FrameAnalyzer(BrightnessDetector(), StraightForecaster(), CAMERAS.__getitem__, lambda _: nullcontext(), now)
    after.restore(before.state(["near"]))
    assert after._sessions["near"].tracker.settings == now


def test_a_frame_that_was_taken_on_the_side_is_seen_upright():
    image = np.zeros((64, 96, 3), np.uint8)
    exif = b"Exif\0\0MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    frame = Frame("near", 0, START, *jpeg_size(jpeg), jpeg)
    (outcome,) = an_analyzer().analyze([frame])
    assert (outcome.width, outcome.height) == (64, 96)
