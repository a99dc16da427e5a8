import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError
from pathcast.detection.preprocess import PADDING_GREY, Letterbox, fitted_input, letterbox

SIDES = st.integers(1, 4096)


@pytest.mark.parametrize(
    ("frame", "content"),
    [
        ((768, 576), (416, 312)),
        ((576, 768), (312, 416)),
        ((416, 416), (416, 416)),
        ((100, 50), (416, 208)),
        ((3000, 1), (416, 1)),
    ],
)
def test_fit_keeps_the_aspect_ratio(frame: tuple[int, int], content: tuple[int, int]) -> None:
    fit = Letterbox.fit(*frame, 416, 416)
    assert (fit.content_width, fit.content_height) == content


@given(width=SIDES, height=SIDES)
def test_content_touches_one_side_and_stays_inside(width: int, height: int) -> None:
    fit = Letterbox.fit(width, height, 416, 320)
    assert 1 <= fit.content_width <= 416
    assert 1 <= fit.content_height <= 320
    assert fit.content_width == 416 or fit.content_height == 320


@given(
    width=SIDES,
    height=SIDES,
    boxes=st.lists(st.tuples(*[st.floats(-100, 5000)] * 4), max_size=5),
)
def test_boxes_come_back(width: int, height: int, boxes: list[tuple[float, ...]]) -> None:
    fit = Letterbox.fit(width, height, 416, 416)
    points = np.array(boxes).reshape(-1, 4)
    np.testing.assert_allclose(fit.to_frame(fit.to_input(points)), points, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    ("frame", "fitted"),
    [
        ((768, 576), (416, 320)),
        ((576, 768), (320, 416)),
        ((1920, 1080), (416, 256)),
        ((500, 500), (416, 416)),
        ((416, 384), (416, 384)),
        ((416, 385), (416, 416)),
        ((3000, 1), (416, 32)),
        ((1, 3000), (32, 416)),
    ],
)
def test_a_fitted_input_has_no_more_padding_than_whole_cells_need(
    frame: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fitted_input(*frame, 416, 416) == fitted


@given(width=SIDES, height=SIDES)
def test_a_frame_is_as_large_in_a_fitted_input(width: int, height: int) -> None:
    fitted = fitted_input(width, height, 416, 320)
    assert all(1 <= side <= whole and side % 32 == 0 for side, whole in zip(fitted, (416, 320), strict=True))
    assert Letterbox.fit(width, height, *fitted) == Letterbox.fit(width, height, 416, 320)


def test_a_frame_without_pixels_fits_no_input() -> None:
    with pytest.raises(InvalidInputError, match="at least 1x1 pixel, got 0x576"):
        fitted_input(0, 576, 416, 416)


def test_frame_corners_meet_content_corners() -> None:
    fit = Letterbox.fit(769, 577, 416, 416)
    np.testing.assert_allclose(fit.to_input([0, 0, 769, 577]), [0, 0, fit.content_width, fit.content_height])


def test_writes_into_the_batch_row_and_greys_the_rest() -> None:
    batch = np.full((2, 416, 416, 3), 7, np.uint8)
    image = np.zeros((576, 768, 3), np.uint8)
    image[..., 0] = 200
    fit = letterbox(image, batch[1])
    assert (batch[0] == 7).all()
    assert (batch[1, : fit.content_height] == [200, 0, 0]).all()
    assert (batch[1, fit.content_height :] == PADDING_GREY).all()


def test_a_narrow_frame_is_padded_on_the_right() -> None:
    out = np.zeros((64, 64, 3), np.uint8)
    letterbox(np.full((64, 16, 3), 9, np.uint8), out)
    assert (out[:, :16] == 9).all()
    assert (out[:, 16:] == PADDING_GREY).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_refuses_what_is_no_frame(image: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        letterbox(image, np.zeros((32, 32, 3), np.uint8))
