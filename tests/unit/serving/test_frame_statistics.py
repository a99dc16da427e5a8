import cv2
import numpy as np
import pytest

from pathcast.serving.frame_statistics import measure_frame

NOISE = np.random.default_rng(3).integers(0, 256, (120, 160, 3), np.uint8)


@pytest.mark.parametrize("shade", [0, 1, 100, 255])
def test_a_flat_image_is_as_bright_as_it_is_and_not_sharp(shade):
    assert measure_frame(np.full((48, 64, 3), shade, np.uint8)) == (shade, 0.0)


def test_brightness_is_luminance():
    """Weights of ITU-R BT.601, in the order R, G, B."""
    for axis, weight in enumerate((0.299, 0.587, 0.114)):
        image = np.zeros((40, 40, 3), np.uint8)
        image[..., axis] = 200
        assert measure_frame(image).brightness == pytest.approx(200 * weight, abs=0.6)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (3, 2), (5, 7)])
def test_the_smallest_images_have_statistics(size):
    brightness, sharpness = measure_frame(np.full((*size, 3), 7, np.uint8))
    assert (brightness, sharpness) == (7.0, 0.0)


def test_blur_takes_sharpness_and_leaves_brightness():
    sharp, *blurred = (measure_frame(cv2.GaussianBlur(NOISE, (0, 0), s) if s else NOISE) for s in (0, 0.8, 1.5, 3))
    levels = [sharp.sharpness, *(each.sharpness for each in blurred)]
    assert all(after < before / 2 for before, after in zip(levels, levels[1:], strict=False))
    assert [each.brightness for each in blurred] == pytest.approx([sharp.brightness] * 3, abs=2)


def test_scaling_up_takes_sharpness():
    larger = cv2.resize(NOISE, None, fx=1.5, fy=1.5)[:120, :160]
    assert measure_frame(larger).sharpness < 0.7 * measure_frame(NOISE).sharpness
