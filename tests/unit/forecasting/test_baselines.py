from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathcast.forecasting.baselines import BASELINES, constant_velocity, stand_still
from pathcast.forecasting.eth_ucy import SCENES, read_test
from pathcast.forecasting.evaluation import evaluate_baselines
from pathcast.forecasting.metrics import score_path

# shared/data/README.md, "Figures to stand against".
PUBLISHED = {
    "eth": (1.08, 2.28),
    "hotel": (0.32, 0.61),
    "univ": (0.52, 1.17),
    "zara1": (0.43, 0.95),
    "zara2": (0.32, 0.72),
}


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "stand_still"])
def test_a_straight_walk_is_foretold_exactly(name: str) -> None:
    walk = np.arange(20.0)[None, :, None] * np.array([[0.3, -0.4], [0.0, 0.0]])[:, None]
    np.testing.assert_allclose(BASELINES[name](walk[:, :8]), walk[:, 8:], atol=1e-9)


def test_a_braking_walk_is_foretold_by_constant_acceleration() -> None:
    times = np.arange(20.0)
    walk = np.stack([times - 0.05 * times**2, 0.02 * times**2], axis=1)[None]
    np.testing.assert_allclose(BASELINES["constant_acceleration"](walk[:, :8]), walk[:, 8:], atol=1e-9)


def test_standing_still_and_no_window_at_all() -> None:
    assert (stand_still(np.full((1, 8, 2), 4.5)) == 4.5).all()
    assert all(baseline(np.empty((0, 8, 2))).shape == (0, 12, 2) for baseline in BASELINES.values())


@pytest.mark.parametrize("scene", SCENES)
def test_constant_velocity_has_the_known_errors(eth_ucy_root: Path, scene: str) -> None:
    windows = read_test(eth_ucy_root, scene)
    metrics = score_path(constant_velocity(windows.observed), windows.future)
    assert (metrics.ade, metrics.fde) == pytest.approx(PUBLISHED[scene], abs=0.0051)


def test_constant_velocity_has_the_known_mean(eth_ucy_root: Path) -> None:
    mean = evaluate_baselines({scene: read_test(eth_ucy_root, scene) for scene in SCENES})["constant_velocity"].mean
    assert (mean.ade, mean.fde) == pytest.approx((0.53, 1.15), abs=0.0051)
