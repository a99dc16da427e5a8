from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core import InvalidInputError
from pathcast.detection.augmentation import (
    AugmentationSettings,
    Sample,
    augmented,
    coloured,
    cut_out,
    fitting_affine,
    flipped,
    mixed,
    mosaic,
    random_affine,
    warped,
)
from pathcast.detection.preprocess import letterbox

BACKGROUND, MARK = 20, 255
SEEDS = st.integers(0, 2**32 - 1)


def marked(boxes: list[list[int]], width: int = 320, height: int = 240) -> Sample:
    """White rectangles on near black, one of each class, with the boxes around them."""
    pixels = np.full((height, width, 3), BACKGROUND, np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = MARK
    tags = np.stack([np.arange(len(boxes)), 10 + np.arange(len(boxes))], axis=1)
    return Sample(pixels, np.array(boxes, np.float64).reshape(-1, 4), tags.astype(np.int64))


def seen_box(pixels: np.ndarray) -> list[float]:
    """The box around what is bright, to the fraction of a pixel that a soft edge tells."""
    bright = (pixels[..., 0].astype(float) - BACKGROUND) / (MARK - BACKGROUND)
    rows, columns = np.flatnonzero((bright > 0.5).any(axis=1)), np.flatnonzero((bright > 0.5).any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


PLAIN_MAPS = AugmentationSettings(rotation=0, shear=0, scale=(0.7, 1.4), shift=0.1)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(60, 200), st.integers(50, 150), st.integers(25, 60), st.integers(25, 60))
def test_boxes_lie_on_the_pixels_that_they_mark(seed: int, x: int, y: int, width: int, height: int) -> None:
    sample = marked([[x, y, x + width, y + height]])
    # Grey around the image would count as bright: only what the image fills is looked at.
    moved = warped(sample, random_affine(sample, PLAIN_MAPS, 208, 160, np.random.default_rng(seed)), 208, 160)
    if not len(moved.boxes):
        return
    inside = (moved.boxes[0] > [1, 1, -1, -1]).all() and (moved.boxes[0][2:] < [207, 159]).all()
    if inside:
        dark = np.where(moved.pixels == 114, BACKGROUND, moved.pixels)
        assert np.abs(np.array(seen_box(dark)) - moved.boxes[0]).max() <= 1.0


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_turned_and_sheared_boxes_still_hold_their_pixels(seed: int) -> None:
    sample = marked([[120, 80, 180, 140]])
    maps = AugmentationSettings(rotation=20, shear=0.2, scale=(0.8, 1.2), shift=0.05)
    moved = warped(sample, random_affine(sample, maps, 320, 240, np.random.default_rng(seed)), 320, 240)
    x1, y1, x2, y2 = seen_box(np.where(moved.pixels == 114, BACKGROUND, moved.pixels))
    box = moved.boxes[0]
    assert (np.array([x1, y1]) >= box[:2] - 1.5).all()
    assert (np.array([x2, y2]) <= box[2:] + 1.5).all()


def test_the_fitting_map_is_the_platforms_letterbox() -> None:
    sample = marked([[40, 40, 120, 200]])
    shown = np.empty((160, 208, 3), np.uint8)
    fit = letterbox(sample.pixels, shown)
    fitted = warped(sample, fitting_affine(sample, 208, 160), 208, 160)
    np.testing.assert_allclose(fitted.boxes, fit.to_input(sample.boxes), atol=0.5)
    inner = (slice(2, 154), slice(2, 202))
    assert np.abs(fitted.pixels[inner].astype(int) - shown[inner]).mean() < 1.0


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_a_mosaic_keeps_every_object_that_it_shows(seed: int) -> None:
    sample = marked([[100, 60, 220, 180]])
    built = mosaic([sample] * 4, 208, 160, np.random.default_rng(seed))
    assert built.pixels.shape == (320, 416, 3)
    for box in built.boxes.round().astype(int):
        middle = built.pixels[(box[1] + box[3]) // 2, (box[0] + box[2]) // 2]
        assert (middle == MARK).all()
    covered = np.zeros(built.pixels.shape[:2], bool)
    for x1, y1, x2, y2 in built.boxes:
        covered[int(y1) : int(np.ceil(y2)) + 1, int(x1) : int(np.ceil(x2)) + 1] = True
    outside = (built.pixels[..., 0] > 200) & ~covered
    # Boxes of which too little is left are dropped, and with them slivers of white.
    assert outside.sum() <= 0.2 * (built.pixels[..., 0] > 200).sum() + 50


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(0, 6))
def test_every_sample_is_well_formed(seed: int, count: int) -> None:
    source = np.random.default_rng(seed)
    corners = source.integers(0, 200, (count, 2))
    boxes = [[int(x), int(y), int(x) + 30, int(y) + 30] for x, y in corners]
    strong = AugmentationSettings(plain=0, mosaic=0.5, mixup=0.5, cutout=0.5, blur=0.5, noise=0.5, night=0.5)
    sample = augmented(lambda: marked(boxes), strong, 208, 160, np.random.default_rng(seed))
    assert sample.pixels.shape == (160, 208, 3)
    assert sample.pixels.dtype == np.uint8
    assert len(sample.boxes) == len(sample.tags)
    assert (sample.boxes[:, 2:] - sample.boxes[:, :2] >= 3 - 1e-9).all()
    assert (sample.boxes >= 0).all()
    assert (sample.boxes <= [208, 160, 208, 160]).all()
    assert (sample.tags[:, 1] == sample.tags[:, 0] + 10).all()


def test_the_same_seed_gives_the_same_sample() -> None:
    one, two = (
        augmented(lambda: marked([[50, 50, 90, 120]]), AugmentationSettings(), 208, 160, np.random.default_rng(5))
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.boxes, two.boxes)


def test_flipping_twice_is_nothing() -> None:
    sample = marked([[10, 20, 60, 90], [100, 20, 160, 90]])
    once = flipped(sample)
    assert once.boxes.tolist() == [[260, 20, 310, 90], [160, 20, 220, 90]]
    assert seen_box(once.pixels) == [160, 20, 310, 90]
    np.testing.assert_array_equal(flipped(once).pixels, sample.pixels)


def test_a_mixture_has_the_boxes_of_both() -> None:
    both = mixed(marked([[10, 10, 60, 60]]), marked([[100, 10, 160, 60]]), 0.5)
    assert both.boxes.tolist() == [[10, 10, 60, 60], [100, 10, 160, 60]]
    assert both.pixels[30, 30, 0] == both.pixels[30, 130, 0] == round((BACKGROUND + MARK) / 2)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_a_cut_out_hides_no_box_that_it_leaves(seed: int) -> None:
    sample = marked([[x, y, x + 20, y + 20] for x in range(0, 300, 40) for y in range(0, 200, 40)])
    cut = cut_out(sample, np.random.default_rng(seed))
    for x1, y1, x2, y2 in cut.boxes.astype(int):
        assert (cut.pixels[y1:y2, x1:x2, 0] == MARK).mean() >= 0.3


def test_colours_change_and_places_do_not() -> None:
    sample = marked([[10, 10, 60, 60]])
    shaded = coloured(sample, AugmentationSettings(brightness=0.5), np.random.default_rng(1))
    assert shaded.boxes is sample.boxes
    assert shaded.pixels.shape == sample.pixels.shape
    assert (shaded.pixels != sample.pixels).any()


@pytest.mark.parametrize("wrong", [{"mosaic": 1.5}, {"scale": (2.0, 1.0)}, {"flip": -0.1}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="augmentation: expected"):
        AugmentationSettings(**wrong)  # type: ignore[arg-type]
