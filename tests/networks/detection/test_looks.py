from __future__ import annotations

import numpy as np
import pytest

from pathcast.detection.looks import PARTS, pooled_looks

HEIGHT, WIDTH, SIZE = 9, 6, 4
RANDOM = np.random.default_rng(2)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def of(looks: np.ndarray, boxes: list[list[float]]) -> np.ndarray:
    return np.asarray(pooled_looks(looks.astype(np.float32), np.array([boxes], np.float32).repeat(len(looks), axis=0)))


def test_every_part_of_a_box_is_read_from_channels_of_its_own() -> None:
    looks = np.zeros((1, HEIGHT, WIDTH, PARTS, SIZE))
    vectors = RANDOM.normal(size=(PARTS, SIZE))
    for part in range(PARTS):
        looks[:, 3 * part : 3 * part + 3, :, part] = vectors[part]
    whole = of(looks.reshape(1, HEIGHT, WIDTH, -1), [[8, 0, 40, 72]])
    np.testing.assert_allclose(whole[0, 0], unit(vectors.sum(axis=0)), atol=1e-5)
    upper = of(looks.reshape(1, HEIGHT, WIDTH, -1), [[8, 0, 40, 24]])
    np.testing.assert_allclose(upper[0, 0], unit(vectors[0]), atol=1e-5)


def test_between_the_middles_of_cells_the_map_is_interpolated() -> None:
    looks = np.zeros((1, HEIGHT, WIDTH, PARTS * SIZE))
    looks[..., 0::SIZE] = 1.0
    looks[..., 1::SIZE] = (np.arange(WIDTH) + 0.5)[:, None] * 8  # pixels from the left
    for middle in (20.0, 23.5, 28.0):
        vector = of(looks, [[middle - 6, 10, middle + 6, 50]])[0, 0]
        assert vector[1] / vector[0] == pytest.approx(middle, rel=1e-5)


def test_images_do_not_mix_and_boxes_may_leave_the_image() -> None:
    looks = RANDOM.normal(size=(3, HEIGHT, WIDTH, PARTS * SIZE))
    boxes = [[-50.0, -50, -10, -10], [0, 0, 48, 72], [40, 60, 90, 300]]
    together = of(looks, boxes)
    assert np.isfinite(together).all()
    for image in range(3):
        np.testing.assert_allclose(together[image], of(looks[image : image + 1], boxes)[0], atol=1e-6)
