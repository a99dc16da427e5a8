from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.export.detector import compare, in_order_of


def answer(scores: list[float], places: list[float], classes: list[int]) -> dict[str, np.ndarray]:
    boxes = np.array([[[place, place, place + 8, place + 8] for place in places]], np.float32)
    return {"boxes": boxes, "scores": np.array([scores], np.float32), "classes": np.array([classes], np.int64)}


def test_the_order_of_nearly_equal_scores_is_no_difference() -> None:
    expected = answer([0.5, 0.2, 0.19999, 1e-4], [10, 30, 50, 70], [0, 0, 0, 0])
    swapped = answer([0.5, 0.20001, 0.2, 2e-4], [10.01, 50, 30, 90], [0, 0, 0, 2])
    arranged = in_order_of(expected, swapped)
    np.testing.assert_allclose(arranged["boxes"][0, :3], expected["boxes"][0, :3], atol=0.011)
    np.testing.assert_allclose(arranged["scores"][0], [0.5, 0.2, 0.20001, 2e-4], atol=1e-7)
    np.testing.assert_array_equal(arranged["classes"], expected["classes"])


def frames_of(folder: Path, count: int) -> LabelledImages:
    """Frames on which nothing is labelled."""
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    return LabelledImages(folder, tuple(LabelledImage(f"{number}.png", 64, 48) for number in range(count)))


def compared(got: dict[str, np.ndarray], frames: LabelledImages) -> dict[str, float]:
    """`got` beside what it should be, on all frames but the first, where it is right."""
    right = {**answer([0.5, 0.2], [10, 30], [0, 0]), "embeddings": np.full((1, 2, 4), 0.5, np.float32)}
    other = lambda images: {**right, **got} if images[0, 0, 0, 0] else right  # noqa: E731
    return compare(lambda images: right, other, frames, (64, 48))


def test_without_labels_and_differences_nothing_differs(tmp_path: Path) -> None:
    same = {"box_difference_px": 0.0, "score_difference": 0.0, "embedding_difference": 0.0}
    assert compared({}, frames_of(tmp_path, 2)) == same


def test_appearance_vectors_are_compared(tmp_path: Path) -> None:
    turned = np.array([[[0.5] * 4, [0.5, 0.5, 0.5, -0.5]]], np.float32)
    assert compared({"embeddings": turned}, frames_of(tmp_path, 3))["embedding_difference"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["boxes", "scores", "embeddings"])
@pytest.mark.parametrize("row", [0, 1])
def test_what_is_not_a_number_is_a_difference(name: str, row: int, tmp_path: Path) -> None:
    # The second row is weaker than what is compared box by box.
    wrong = {**answer([0.5, 1e-4], [10, 30], [0, 0]), "embeddings": np.full((1, 2, 4), 0.5, np.float32)}
    wrong[name][0, row] = np.nan
    assert np.isnan(list(compared(wrong, frames_of(tmp_path, 3)).values())).any()


def test_no_frames_are_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected real frames to compare on, got none"):
        compared({}, frames_of(tmp_path, 0))


@pytest.mark.parametrize("other", [answer([0.5, 0.2], [10, 30], [0, 2]), answer([0.5, 0.2], [10, 50], [0, 0])])
def test_another_class_or_box_is_a_difference(other: dict[str, np.ndarray]) -> None:
    expected = answer([0.5, 0.2], [10, 30], [0, 0])
    arranged = in_order_of(expected, other)
    assert np.abs(arranged["boxes"] - expected["boxes"]).max() == pytest.approx(20)
