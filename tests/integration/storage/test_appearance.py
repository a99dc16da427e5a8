"""The looks of what cameras see, from a detector that gives vectors to the drift checks, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pytest

from pathcast.core import Observation
from pathcast.core.camera import Camera
from pathcast.core.frame import Frame
from pathcast.messaging.observation_codec import decode_observation, encode_observation
from pathcast.monitoring.check import check_signals
from pathcast.monitoring.verdict import Judgement
from pathcast.serving.frame_analyzer import FrameAnalyzer
from pathcast.serving.local_models import ConstantVelocity, FileDetector
from pathcast.storage.observations import read_observations
from pathcast.storage.writers import write_observations
from pathcast.tracking.settings import TrackerSettings
from pathcast.training.detector import FAMILY
from tests.support.bright import CELL_PX, CELLS, write_bright_detector

pytestmark = pytest.mark.integration

MINUTE = timedelta(minutes=1)
FRAMES_A_MINUTE = 40
REFERENCE = 7
MONITORING = FAMILY.monitoring.changed({"window_minutes": 1, "reference_hours": REFERENCE / 60})
# Of the same luminance and the same mean, so that nothing but the vectors tells them apart.
WARM, COLD = (255, 170, 100), (100, 230, 195)
_hours = count()


@pytest.fixture
def start() -> datetime:
    """An hour of its own for each test, away from those of other tests."""
    return datetime(2032, 3, 1, tzinfo=UTC) + next(_hours) * timedelta(hours=1)


def detector(folder: Path, looks: tuple[int, ...], version: str = "1") -> FileDetector:
    """The detector of the family's name, whose vectors are the colour channels `looks`."""
    model = FileDetector(write_bright_detector(folder / "detector.onnx", looks))
    model.version = version
    return model


def pictures(random: np.random.Generator, colour: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """A minute of three objects of about that colour."""
    side = CELLS * CELL_PX
    for _ in range(FRAMES_A_MINUTE):
        image = np.full((side, side, 3), 10, np.uint8)
        for cell in (1, 3, 5):
            tint = np.clip(np.array(colour) + random.normal(0, 8, 3), 0, 255)
            image[2 * CELL_PX : 3 * CELL_PX, cell * CELL_PX : (cell + 1) * CELL_PX] = tint
        yield image


def play(
    connection: psycopg.Connection,
    camera_id: str,
    model: FileDetector,
    start: datetime,
    minutes: list[tuple[int, int, int]],
) -> list[Observation]:
    """Minutes of these colours through the analyzer, the topic's bytes and the writers; what was stored."""
    analyzer = FrameAnalyzer(model, ConstantVelocity(), Camera, lambda _: nullcontext(), TrackerSettings())
    random = np.random.default_rng(5)
    stored = []
    for minute, colour in enumerate(minutes):
        images = list(pictures(random, colour))
        moments = [start + (minute + number / len(images)) * MINUTE for number in range(len(images))]
        side = len(images[0])
        frames = [Frame(camera_id, number, moment, side, side, b"") for number, moment in enumerate(moments)]
        stored += [decode_observation(encode_observation(each)) for each in analyzer.analyze(frames, images)]
    analyzer.close()
    write_observations(connection, stored)
    return stored


def judged(connection: psycopg.Connection, camera_id: str, until: datetime) -> dict[str, Judgement]:
    found = check_signals(connection, "detector", MONITORING, until, [camera_id])
    return {each.finding.signal: each.finding.judgement for each in found}


def test_only_the_looks_have_changed_and_only_they_alarm(
    connection: psycopg.Connection, camera_id: str, start: datetime, tmp_path: Path
) -> None:
    model = detector(tmp_path, (0, 1, 2))
    play(connection, camera_id, model, start, [WARM] * (REFERENCE + 3) + [COLD])
    usual = [judged(connection, camera_id, start + minute * MINUTE) for minute in (8, 9, 10)]
    assert {name: each.verdict for window in usual for name, each in window.items()} == dict.fromkeys(
        ("brightness", "sharpness", "objects", "box_height", "score", "appearance"), "normal"
    )
    changed = judged(connection, camera_id, start + 11 * MINUTE)
    assert {name for name, each in changed.items() if each.verdict == "alarm"} == {"appearance"}
    cosine = np.dot(WARM, COLD) / np.linalg.norm(WARM) / np.linalg.norm(COLD)
    assert changed["appearance"].distance == pytest.approx(1 - cosine, abs=0.02)
    assert (changed["appearance"].samples, changed["appearance"].windows) == (FRAMES_A_MINUTE, REFERENCE)
    assert (changed["appearance"].value, changed["appearance"].reference) == (None, None)


def test_vectors_of_another_version_are_no_reference(
    connection: psycopg.Connection, camera_id: str, start: datetime, tmp_path: Path
) -> None:
    """They have another length here, and are not even read."""
    play(connection, camera_id, detector(tmp_path, (0, 1, 2)), start, [WARM] * 4)
    newer = detector(tmp_path, (2, 1, 0, 0), version="2")
    play(connection, camera_id, newer, start + 4 * MINUTE, [WARM] * 5 + [COLD])
    early = judged(connection, camera_id, start + 5 * MINUTE)["appearance"]
    assert (early.verdict, early.windows, early.samples) == ("unknown", 0, FRAMES_A_MINUTE)
    assert judged(connection, camera_id, start + 9 * MINUTE)["appearance"].verdict == "normal"
    assert judged(connection, camera_id, start + 10 * MINUTE)["appearance"].verdict == "alarm"


def test_without_vectors_the_signal_says_why_it_is_absent(
    connection: psycopg.Connection, camera_id: str, start: datetime, tmp_path: Path
) -> None:
    play(connection, camera_id, detector(tmp_path, ()), start, [WARM] * 6)
    found = judged(connection, camera_id, start + 6 * MINUTE)
    assert found["brightness"].verdict == "normal"
    assert found["appearance"].verdict == "unknown"
    assert found["appearance"].reason.startswith("not watched: this version of the detector gives no appearance")


def test_the_mean_vector_is_read_back_as_it_was(
    connection: psycopg.Connection, camera_id: str, start: datetime, tmp_path: Path
) -> None:
    seen = play(connection, camera_id, detector(tmp_path, (0, 1, 2)), start, [WARM])
    again = read_observations(connection, camera_id, start, start + MINUTE)
    assert [each.appearance is None for each in again] == [each.appearance is None for each in seen]
    assert len([each for each in seen if each.appearance is not None]) > FRAMES_A_MINUTE / 2
    for before, after in zip(seen, again, strict=True):
        if before.appearance is not None:
            np.testing.assert_array_equal(after.appearance, before.appearance)
            assert np.linalg.norm(after.appearance) == pytest.approx(1.0, abs=0.02)
