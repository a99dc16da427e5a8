"""Sessions of streaming clients, with a detector that reads a frame's brightness and a clock that tests own."""

import cv2
import msgspec
import numpy as np
import pytest

from pathcast.core import Detections, InvalidInputError, Observation, ServiceUnavailableError
from pathcast.core.camera import Camera
from pathcast.core.ground_plane import HomographyPlane
from pathcast.serving.remote_models import constant_velocity
from pathcast.serving.stream_sessions import StreamRequest, StreamSessions
from pathcast.tracking.settings import TrackerSettings

STEP_NS = 200_000_000
START_NS = 1_767_225_600_000_000_000
IDLE_LIMIT_S = 60


class BrightnessDetector:
    model = "brightness"
    fails = False

    def detect(self, images):
        if self.fails:
            raise ServiceUnavailableError("model detector is not served")
        return [
            Detections([[int(image[0, 0, 0]), 10, int(image[0, 0, 0]) + 20, 50]], [0.9], [0]) for image in images
        ], "4"


class StraightForecaster:
    served = False

    def forecast(self, observed, neighbours):
        return constant_velocity(observed)


class Bench:
    """Sessions with everything around them in reach."""

    def __init__(self):
        self.now_s = 1_000.0
        self.detector = BrightnessDetector()
        self.sessions = StreamSessions(
            self.detector,
            StraightForecaster(),
            TrackerSettings(),
            idle_limit_s=IDLE_LIMIT_S,
            clock=lambda: self.now_s,
        )

    def ask(self, *requests):
        return self.sessions.answer(requests)

    def feed(self, sequence, indices, client=""):
        return [self.ask(a_request(sequence, index, client=client))[0] for index in indices]


@pytest.fixture
def bench():
    return Bench()


def pixels(index, offset=0):
    return np.full((64, 96, 3), index + offset, np.uint8)


def a_request(sequence, index, *, offset=0, **fields):
    given = {
        "start": index == 0,
        "end": False,
        "captured_at_ns": START_NS + index * STEP_NS,
        "pixels": pixels(index, offset),
    }
    return StreamRequest(str(sequence), **(given | fields))


def a_claim(jpeg, width, height):
    """The JPEG with another size in its frame header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + jpeg[at + 4 :]


def a_jpeg(index):
    return cv2.imencode(".jpg", pixels(index))[1].tobytes()


def plain(answers):
    return [
        (o.camera_id, o.sequence, o.tracks.track_ids.tolist(), o.tracks.xyxy.tolist(), o.positions.tolist(), o.units,
         [(f.track_id, f.made_at_step, f.paths.tolist()) for f in o.forecasts], o.scores)
        for o in answers
    ]  # fmt: skip


def test_sessions_fed_together_see_what_each_sees_alone(bench):
    camera = msgspec.json.encode(Camera("far", HomographyPlane(np.diag([0.1, 0.1, 1.0]))).as_mapping())
    together = {1: [], 2: [], 3: []}
    for index in range(50):
        answers = bench.ask(*(a_request(n, index, offset=20 * n, camera=camera if n == 3 else None) for n in together))
        for number, answer in zip(together, answers, strict=True):
            together[number].append(answer)
    for number, seen in together.items():
        alone = Bench()
        again = [
            alone.ask(a_request(number, index, offset=20 * number, camera=camera if number == 3 else None))[0]
            for index in range(50)
        ]
        assert plain(again) == plain(seen)
    assert {seen[0].camera_id for seen in together.values()} == {"stream", "far"}
    assert {o.units for o in together[3]} == {"m"}
    assert sum(len(o.scores) for o in together[3]) > 1
    assert {each.camera_id for o in together[3] for each in (*o.forecasts, *o.scores)} == {"far"}


def test_jpeg_and_pixels_are_the_same_to_it(bench):
    grey = 128
    of_pixels = [bench.ask(a_request(1, index, pixels=pixels(grey)))[0] for index in range(3)]
    of_jpeg = [bench.ask(a_request(2, index, pixels=None, jpeg=a_jpeg(grey)))[0] for index in range(3)]
    assert plain(of_jpeg) == plain(of_pixels)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"pixels": None, "jpeg": b"not a picture"}, "sequence 7, frame 3: JPEG: expected to start with ff d8"),
        ({"pixels": None, "jpeg": a_jpeg(3)[:-40]}, "cut off"),
        ({"pixels": np.zeros((4, 4), np.uint8)}, r"expected \(height, width, 3\) RGB, got \(4, 4\)"),
        ({"pixels": np.zeros((0, 4, 3), np.uint8)}, r"got \(0, 4, 3\)"),
        ({"pixels": np.broadcast_to(np.uint8(0), (9000, 9000, 3))}, "at most 64000000 pixels, got 9000x9000"),
        ({"pixels": None, "jpeg": a_claim(a_jpeg(3), 9000, 9001)}, "at most 64000000 pixels, got 9000x9001"),
        ({"jpeg": a_jpeg(3)}, "got both"),
        ({"pixels": None}, "no frame"),
        ({"captured_at_ns": -1}, "expected nanoseconds since 1970"),
        ({"captured_at_ns": START_NS + 2 * STEP_NS}, "same captured_at"),
        ({"captured_at_ns": START_NS}, "same captured_at"),
        ({"captured_at_ns": START_NS + STEP_NS // 2}, "older than the camera's newest frame"),
    ],
)
def test_a_bad_frame_is_refused_and_its_session_and_the_others_go_on(bench, damage, complaint):
    undisturbed = plain(Bench().feed(7, range(8)))
    other = plain(Bench().feed(8, range(8)))
    seen, beside = [], []
    for index in range(8):
        if index == 3:
            refused, fine = bench.ask(a_request(7, index, **damage), a_request(8, index))
            assert isinstance(refused, InvalidInputError)
            with pytest.raises(InvalidInputError, match=complaint):
                raise refused
            (good,) = bench.ask(a_request(7, index))
        else:
            good, fine = bench.ask(a_request(7, index), a_request(8, index))
        seen.append(good)
        beside.append(fine)
    assert [row[2:] for row in plain(seen)] == [row[2:] for row in undisturbed]
    assert plain(beside) == other


def test_what_ends_a_session(bench):
    bench.feed(1, range(5))
    (last,) = bench.ask(a_request(1, 5, end=True))
    assert last.sequence == 5
    assert len(bench.sessions) == 0
    (late,) = bench.ask(a_request(1, 6))
    assert "it is not open" in late.message
    bench.feed(1, range(3))
    assert bench.ask(StreamRequest("1", start=False, end=True)) == [None]
    assert len(bench.sessions) == 0
    bench.feed(1, range(2))
    (bad,) = bench.ask(a_request(1, 2, pixels=None, jpeg=b"", end=True))
    assert isinstance(bad, InvalidInputError)
    assert len(bench.sessions) == 0, "a bad last frame is the last one too"


def test_a_second_start_begins_anew(bench):
    first = bench.feed(1, range(20))
    again = bench.feed(1, range(20))
    assert plain(again) == plain(first)
    assert len(bench.sessions) == 1


def test_a_stranger_with_the_same_sequence_changes_nothing(bench):
    undisturbed = plain(Bench().feed(1, range(20), client="one"))
    seen = []
    for index in range(20):
        seen += bench.feed(1, [index], client="one")
        for start in (False, True):
            (refused,) = bench.ask(a_request(1, index, offset=100, client="two", start=start))
            assert "belongs to another client" in refused.message
        (refused,) = bench.ask(StreamRequest("1", start=False, end=True, client="two"))
        assert "belongs to another client" in refused.message
    assert plain(seen) == undisturbed


def test_idle_sessions_are_released_and_only_they(bench):
    bench.feed(1, range(2))
    bench.now_s += IDLE_LIMIT_S - 1
    bench.feed(2, range(2))
    assert len(bench.sessions) == 2
    bench.now_s += 2
    (refused,) = bench.ask(a_request(1, 2))
    assert "it is not open" in refused.message
    (seen,) = bench.ask(a_request(2, 2))
    assert seen.sequence == 2
    assert len(bench.sessions) == 1


def test_time_that_the_models_take_is_nobodys_silence(bench):
    bench.feed(1, range(2))
    bench.feed(2, range(2))
    detect = bench.detector.detect

    def stalled(images):
        bench.now_s += IDLE_LIMIT_S + 1
        bench.detector.detect = detect
        return detect(images)

    bench.detector.detect = stalled
    # The next frame of the one, and that of the other, which waited behind it.
    for sequence, index in ((1, 2), (1, 3), (2, 2)):
        (seen,) = bench.feed(sequence, [index])
        assert seen.sequence == index
    bench.now_s += IDLE_LIMIT_S + 1
    (refused,) = bench.ask(a_request(2, 3))
    assert "it is not open" in refused.message


@pytest.mark.parametrize(
    ("camera", "complaint"),
    [
        (b"{", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        (b'{"calibration": {}}', "expected camera_id"),
        (b'{"camera_id": "gate", "calibration": {"kind": "fisheye"}}', "fisheye"),
        (b'{"camera_id": "gate", "calibration": 7}', "camera"),
        (b'{"camera_id": ' + b"[" * 3000 + b"]" * 3000 + b"}", "not a JSON object"),
        (b'{"camera_id": "gate", "calibration": {"kind": "tsai", "tx": ' + b"9" * 400 + b"}}", "too large"),
    ],
)
def test_a_bad_camera_opens_no_session(bench, camera, complaint):
    (refused,) = bench.ask(a_request(1, 0, camera=camera))
    with pytest.raises(InvalidInputError, match=complaint):
        raise refused
    assert len(bench.sessions) == 0


def test_when_the_detector_fails_the_frame_is_lost_or_repeated_and_identities_stay(bench):
    bench.feed(1, range(3))
    bench.detector.fails = True
    (lost,) = bench.ask(a_request(1, 3))
    assert isinstance(lost, ServiceUnavailableError)
    assert "the frame is lost: model detector is not served" in lost.message
    bench.detector.fails = False
    again, next_one = bench.feed(1, (3, 4))
    assert isinstance(again, Observation)
    assert next_one.tracks.track_ids.tolist() == [1]


def test_no_request_no_answer(bench):
    assert bench.ask() == []
    bench.feed(1, range(2))
    bench.sessions.close()
    assert len(bench.sessions) == 0
