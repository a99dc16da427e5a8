from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.quality import box_faults, mended, unfit, validate
from tests.support.pictures import VAST_PNG

START = datetime(2024, 1, 1, tzinfo=UTC)
INSIDE = [10.0, 10.0, 20.0, 20.0]


def image(boxes: list[list[float]], classes: list[int] | None = None, name: str = "a.png") -> LabelledImage:
    return LabelledImage(name, 64, 48, boxes, classes if classes is not None else [0] * len(boxes))


@pytest.mark.parametrize(
    ("boxes", "kinds"),
    [
        ([], []),
        ([INSIDE], []),
        ([INSIDE, [30, 10, 40, 20]], []),
        ([[10, 10, 10, 20]], ["empty box"]),
        ([[20, 10, 10, 20]], ["empty box"]),
        ([[70, 10, 80, 20]], ["box outside the image"]),
        ([[-20, -20, -10, -10]], ["box outside the image"]),
        ([[50, 10, 70, 20]], ["box reaches over the image"]),
        ([[-5, 10, 20, 20]], ["box reaches over the image"]),
        ([[-0.5, 10, 64.5, 20]], []),
        ([[np.nan, 10, 20, 20]], ["not finite"]),
        ([INSIDE, INSIDE], ["duplicate box"]),
        ([INSIDE, INSIDE, INSIDE], ["duplicate box"] * 3),
    ],
)
def test_every_fault_of_a_box_is_named(boxes: list[list[float]], kinds: list[str]) -> None:
    found = list(box_faults(image(boxes)))
    assert [fault.kind for fault in found] == kinds
    assert all(fault.name == "a.png" for fault in found)
    assert list(box_faults(mended(image(boxes)))) == []


def test_the_same_box_of_two_classes_is_no_duplicate() -> None:
    assert list(box_faults(image([INSIDE, INSIDE], [0, 1]))) == []


def test_mending_clips_and_drops() -> None:
    kept = mended(image([INSIDE, [50, 10, 70, 20], [70, 10, 80, 20], INSIDE, [5, 5, 5, 9]]))
    assert kept.xyxy.tolist() == [INSIDE, [50, 10, 64, 20]]


def texture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_unreadable_images_wrong_sizes_and_double_names_are_found(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), texture(1))
    cv2.imwrite(str(tmp_path / "b.png"), texture(2)[:20])
    (tmp_path / "c.png").write_bytes(b"no image")
    (tmp_path / "e.png").write_bytes(VAST_PNG)
    names = ["a.png", "b.png", "c.png", "a.png", "d.png", "e.png"]
    told: list[str] = []
    found = validate(LabelledImages(tmp_path, tuple(image([], name=name) for name in names)), told.append)
    assert [(fault.name, fault.kind) for fault in found] == [
        ("b.png", "unreadable"),
        ("c.png", "unreadable"),
        ("a.png", "listed twice"),
        ("d.png", "unreadable"),
        ("e.png", "unreadable"),
    ]
    assert told == names


def test_blurred_dark_and_repeated_frames_are_left_out_each_camera_for_itself(tmp_path: Path) -> None:
    nearly = texture(1).astype(int)
    nearly[0, 0] = 255 - nearly[0, 0]
    pictures = {
        "1.png": texture(1),
        "2.png": nearly.astype(np.uint8),
        "3.png": texture(2),
        "4.png": cv2.GaussianBlur(texture(3), (0, 0), 9),
        "5.png": texture(4) // 25,
        "6.png": texture(2),
    }
    for name, pixels in pictures.items():
        cv2.imwrite(str(tmp_path / name), pixels)
    cameras = {"6.png": "other"}
    images = tuple(
        image([], name=name).changed(
            camera=cameras.get(name, "gate"), captured_at=START + timedelta(seconds=int(name[0]))
        )
        for name in pictures
    )
    found = unfit(LabelledImages(tmp_path, images))
    assert [(fault.name, fault.kind) for fault in found] == [
        ("2.png", "near-duplicate"),
        ("4.png", "blurred"),
        ("5.png", "dark"),
    ]


def test_labels_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="class ids of 0 to 5"):
        image([INSIDE], [6])
    with pytest.raises(InvalidInputError, match="expected a time zone"):
        LabelledImage("a.png", 4, 4, captured_at=datetime(2024, 1, 1))  # noqa: DTZ001
