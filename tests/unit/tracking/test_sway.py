from __future__ import annotations

import numpy as np
import pytest

from pathcast.tracking.settings import SwaySettings
from pathcast.tracking.sway import camera_shift

SETTINGS = SwaySettings()


def run(amplitude_px: float, frames: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """True and found shifts of a camera that jumps by `amplitude_px`, with eight objects wandering by 2 px."""
    generator = np.random.default_rng(11)
    sway, true, found = np.zeros(2), [], []
    for _ in range(frames):
        jump = generator.normal(0, amplitude_px, 2)
        shift, sway = camera_shift((jump + generator.normal(0, 2, (8, 2))).T, sway, SETTINGS)
        true.append(jump)
        found.append(shift)
    return np.array(true[50:]), np.array(found[50:])


def test_a_fixed_camera_is_left_alone() -> None:
    _, found = run(0.0)
    assert np.abs(found).mean() < 0.2


def test_a_shaking_camera_is_followed() -> None:
    true, found = run(15.0)
    assert np.abs(true - found).mean() < 0.2 * np.abs(true).mean()


def test_one_object_of_its_own_will_does_not_move_the_camera() -> None:
    offsets = np.zeros((7, 2))
    offsets[3] = [80, -40]
    shift, sway = camera_shift(offsets.T, np.array([100.0, 100.0]), SETTINGS)
    assert shift == pytest.approx([0, 0])
    assert (sway < 100).all()
