import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.recognition.crops import square_crop


def ramp(height: int, width: int) -> np.ndarray:
    """Red rises with x and green with y, a level a pixel."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width)[None, :], np.arange(height)[:, None]
    return image


def test_a_box_of_the_wanted_size_is_cut_out_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 90, 3)).astype(np.uint8)
    assert np.array_equal(square_crop(image, (20, 10, 68, 58), 48), image[10:58, 20:68])
    assert np.array_equal(square_crop(image, (20, 10, 68, 58), 48, 6), image[4:64, 14:74])


@pytest.mark.parametrize("size", [24, 96, 144])
def test_positions_stay_when_sizes_change(size: int) -> None:
    crop = square_crop(ramp(200, 200), (20, 30, 20 + size, 30 + size), 48).astype(float)
    expected = (np.arange(48) + 0.5) * size / 48 - 0.5
    assert crop[24, :, 0] == pytest.approx(20 + expected, abs=1.0)
    assert crop[:, 24, 1] == pytest.approx(30 + expected, abs=1.0)


def test_beyond_the_image_its_edge_goes_on() -> None:
    image = np.full((20, 20, 3), 50, np.uint8)
    image[:, 0] = 200
    crop = square_crop(image, (-24, 0, 24, 20), 48)
    assert (crop[:, :20] == 200).all()


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(*(st.floats(-100, 160) for _ in range(2)), *(st.floats(0.1, 200) for _ in range(2))),
    st.integers(0, 6),
)
def test_any_box_of_any_image_gives_a_square(shape: tuple[int, int], box: tuple[float, ...], margin: int) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    crop = square_crop(image, (box[0], box[1], box[0] + box[2], box[1] + box[3]), 48, margin)
    assert crop.shape == (48 + 2 * margin, 48 + 2 * margin, 3)
    assert (crop == 77).all()
