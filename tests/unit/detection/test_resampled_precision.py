from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.average_precision import GroundTruth, average_precision
from pathcast.detection.resampled_precision import MOST, ResampledPrecision


def scene(
    seed: int, images: int, *, boxes: int = 8, classes: int = 3, ties: bool = False
) -> tuple[list[Detections], list[GroundTruth]]:
    """Boxes near to each other, some ignored, each found about twice, some as another class; some images empty."""
    random = np.random.default_rng(seed)
    detections, truth = [], []
    for _ in range(images):
        count = int(random.integers(0, boxes))
        corners = random.uniform(0, 80, (count, 2))
        true = np.hstack([corners, corners + random.uniform(10, 60, (count, 2))])
        labels = random.integers(0, classes, count)
        truth.append(GroundTruth(true, labels, random.random(count) < 0.2))
        moved = (true + random.normal(0, 6, true.shape)).repeat(2, axis=0)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        scores = random.integers(0, 4, 2 * count) / 4 if ties else random.random(2 * count)
        taken_for = np.where(random.random(2 * count) < 0.8, labels.repeat(2), 0)
        detections.append(Detections(moved, scores, taken_for))
    return detections, truth


def counted_anew(detections: list[Detections], truth: list[GroundTruth], samples: np.ndarray) -> float:
    picked = samples.tolist()
    chosen = [truth[index] for index in picked]
    if all(image.ignored.all() for image in chosen):
        return 0.0
    return average_precision([detections[index] for index in picked], chosen).map50


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 12), data=st.data())
def test_any_choice_scores_as_if_it_were_counted_anew(seed: int, images: int, data: st.DataObject) -> None:
    detections, truth = scene(seed, images)
    samples = np.array(data.draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=2 * images)))
    expected = counted_anew(detections, truth, samples)
    assert ResampledPrecision(detections, truth).map50(samples) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 12), ties=st.booleans())
def test_all_images_once_are_the_library_s_figure(seed: int, images: int, ties: bool) -> None:
    detections, truth = scene(seed, images, ties=ties)
    everything = np.arange(images)
    expected = counted_anew(detections, truth, everything)
    assert ResampledPrecision(detections, truth).map50(everything) == pytest.approx(expected, abs=1e-9)


def test_an_image_has_a_hundred_detections_of_a_class() -> None:
    box = [0.0, 0.0, 9.0, 9.0]
    wrong = Detections([[50.0, 50.0, 60.0, 60.0]] * MOST + [box], [*np.linspace(0.9, 0.5, MOST), 0.1], [0] * (MOST + 1))
    truth = [GroundTruth([box], [0])]
    assert counted_anew([wrong], truth, np.array([0])) == 0.0
    assert ResampledPrecision([wrong], truth).map50(np.array([0])) == 0.0


def test_a_choice_with_nothing_to_find_scores_0() -> None:
    truth = [GroundTruth([[0, 0, 9, 9]], [0]), GroundTruth([], [])]
    found = [Detections([[0, 0, 9, 9]], [0.9], [0])] * 2
    scored = ResampledPrecision(found, truth)
    assert scored.map50(np.array([1, 1])) == 0.0
    assert scored.map50(np.array([0, 1])) == pytest.approx(1.0)


def test_2000_draws_take_seconds() -> None:
    detections, truth = scene(1, 400, boxes=16)
    scored, random = ResampledPrecision(detections, truth), np.random.default_rng(0)
    started = time.process_time()
    for _ in range(100):
        scored.map50(random.integers(0, 400, 400))
    assert time.process_time() - started < 1.0


def test_wrong_use_is_named() -> None:
    with pytest.raises(InvalidInputError, match="expected detections for 1, got 0"):
        ResampledPrecision([], [GroundTruth([], [])])
