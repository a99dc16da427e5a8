import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.recognition.sign_augmentation import MARGIN, SignAugmentation, centre
from pathcast.recognition.sign_classes import MIRRORED

SIDE = 48
NOTHING = dict.fromkeys(SignAugmentation.__dataclass_fields__, 0.0)
STILL = SignAugmentation(**NOTHING)


def sample(seed: int = 0) -> np.ndarray:
    side = SIDE + 2 * MARGIN
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


@given(st.integers(0, 42), st.integers(0, 2**32))
def test_a_variation_is_a_picture_of_its_class_or_of_the_mirror_class(label: int, seed: int) -> None:
    image = sample()
    varied, said = SignAugmentation()(image, label, np.random.default_rng(seed))
    assert varied.shape == (SIDE, SIDE, 3)
    assert varied.dtype == np.uint8
    assert said in {label, MIRRORED.get(label, label)}
    again, _ = SignAugmentation()(image, label, np.random.default_rng(seed))
    assert np.array_equal(varied, again)
    assert np.array_equal(image, sample())


@pytest.mark.parametrize("label", [1, 14, 24, 12, 38])
def test_without_variation_the_middle_stays_and_only_what_may_is_mirrored(label: int) -> None:
    image = sample()
    middle = centre(image[None])[0]
    outcomes = set()
    for seed in range(20):
        varied, said = STILL(image, label, np.random.default_rng(seed))
        mirrored = np.array_equal(varied, middle[:, ::-1])
        assert mirrored or np.array_equal(varied, middle)
        assert said == (MIRRORED[label] if mirrored else label)
        outcomes.add(mirrored)
    assert outcomes == ({True, False} if label in MIRRORED else {False})


@pytest.mark.parametrize("kind", NOTHING)
def test_every_kind_of_variation_does_something(kind: str) -> None:
    value = 12.0 if kind == "rotation_deg" else 1.0 if kind in {"blur", "motion", "coarse", "noise", "cutout"} else 0.3
    varied, _ = SignAugmentation(**{**NOTHING, kind: value})(sample(), 1, np.random.default_rng(3))
    assert not np.array_equal(varied, centre(sample()[None])[0])


def test_a_hidden_part_has_a_colour_of_the_picture() -> None:
    image = np.full((SIDE + 2 * MARGIN,) * 2 + (3,), 30, np.uint8)
    varied, _ = SignAugmentation(**{**NOTHING, "cutout": 1.0})(image, 1, np.random.default_rng(0))
    assert (varied == 30).all()
