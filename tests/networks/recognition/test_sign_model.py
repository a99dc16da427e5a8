import numpy as np
import pytest
from keras import ops

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.sign_model import Standardised, Window, build_signs
from pathcast.recognition.sign_settings import SIDE, SignSettings

SMALL = SignSettings(channels=4, blocks=(1, 1))


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)


@pytest.mark.parametrize("settings", [SMALL, SignSettings(channels=4, blocks=(1,), window=False)])
def test_bytes_in_probabilities_of_43_classes_out(settings: SignSettings) -> None:
    out = build_signs(settings)(images(), training=False)
    assert out["probabilities"].shape == (2, 43)
    assert ops.convert_to_numpy(out["probabilities"]).sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_light_and_haze_matter_little() -> None:
    dark = images() // 2
    hazy = dark + 100
    one, two = (ops.convert_to_numpy(Standardised()(each)) for each in (dark, hazy))
    assert one == pytest.approx(two, abs=1e-4)
    flat = ops.convert_to_numpy(Standardised()(np.full((1, SIDE, SIDE, 3), 9, np.uint8)))
    assert np.abs(flat).max() < 1e-3


def test_a_window_of_zeros_is_the_whole_image() -> None:
    values = images().astype(np.float32)
    assert ops.convert_to_numpy(Window()(values, np.zeros((2, 4), np.float32))) == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize(("axis", "column"), [(1, 0), (2, 1)])
def test_a_window_moves_and_scales_along_each_axis(axis: int, column: int) -> None:
    # A ramp: what is seen at a place is where it was.
    ramp = np.arange(SIDE, dtype=np.float32)
    values = np.broadcast_to(np.expand_dims(ramp, axis=(2 - axis, 2)), (SIDE, SIDE, 3))[None]
    window = np.zeros((1, 4), np.float32)
    window[0, column], window[0, column + 2] = 0.2, -1.0
    seen = np.moveaxis(ops.convert_to_numpy(Window()(np.ascontiguousarray(values), window))[0], axis - 1, 0)[:, 0, 0]
    half = (SIDE - 1) / 2
    assert seen == pytest.approx((ramp - half) * np.exp(-0.5) + half * 1.1, abs=1e-3)


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"blocks": ()}, {"blocks": (1, 0)}, {"dropout": 1.0}])
def test_sizes_that_make_no_network_are_told(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="signs: expected channels"):
        SignSettings(**wrong)  # type: ignore[arg-type]


def test_settings_come_back_from_a_mapping() -> None:
    assert SignSettings.from_mapping(SMALL.as_mapping()) == SMALL
    with pytest.raises(InvalidInputError, match="sign settings: expected"):
        SignSettings.from_mapping({"channels": 4})
