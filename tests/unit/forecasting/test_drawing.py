from __future__ import annotations

import numpy as np
import pytest

from pathcast.core.trajectory import METRES
from pathcast.forecasting.drawing import ENOUGH, WindowDraw
from pathcast.forecasting.windows import Windows, concatenate

STEPS = np.arange(20)[:, None] * np.array([1.0, 0.0])


def recording(tracks: int, length: int, speed: float) -> Windows:
    """`tracks` people who walk `length` steps at one speed, every window of them."""
    starts = np.tile(np.arange(length - 19), tracks)
    paths = (STEPS[None] + starts[:, None, None] * np.array([1.0, 0.0])) * speed
    return Windows(paths, np.repeat(np.arange(tracks), length - 19), METRES)


def share_by_speed(draw: WindowDraw) -> dict[float, float]:
    speeds = draw.windows.paths[:, 1, 0] - draw.windows.paths[:, 0, 0]
    return {float(speed): draw.chances[np.isclose(speeds, speed)].sum() for speed in np.unique(speeds.round(6))}


def test_recordings_count_the_same_and_so_do_the_paces_of_each() -> None:
    long, short = recording(ENOUGH, 39, 1.0), recording(ENOUGH // 5, 39, 10.0)
    draw = WindowDraw.of(concatenate([long, short]), (1.5, 2.0))
    shares = share_by_speed(draw)
    # The short one gives enough windows at 1.5 alone.
    wanted = {1.0: 1 / 6, 1.5: 1 / 6, 2.0: 1 / 6, 10.0: 1 / 4, 15.0: 1 / 4}
    assert shares == pytest.approx(wanted)
    assert sum(shares.values()) == pytest.approx(1)
    assert draw.chances.min() > 0


def test_one_recording_is_drawn_as_it_is_and_without_repeats() -> None:
    alone = recording(ENOUGH, 39, 1.0)
    draw = WindowDraw.of(alone, (1.5,))
    assert len(draw.windows) == len(alone)
    paths = np.arange(len(alone))[:, None, None] + np.zeros((1, 20, 2))
    numbered = WindowDraw(Windows(paths, alone.tracks, METRES), draw.chances)
    drawn = numbered(100, np.random.default_rng(1)).paths[:, 0, 0]
    assert len(np.unique(drawn)) == 100
    assert len(numbered(2 * len(alone), np.random.default_rng(1))) == 2 * len(alone)
