import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pathcast.recognition.clip_augmentation import PLAIN, ClipAugmentation, mixed, varied
from tests.support.clips import moving_square

ALWAYS = {"mixup": ClipAugmentation(mixup=1.0, cutmix=0.0), "cutmix": ClipAugmentation(mixup=0.0, cutmix=1.0)}
seeds = st.integers(0, 2**32 - 1)


def still(seed: int) -> np.ndarray:
    """A clip whose frames are all the same."""
    return np.repeat(moving_square(seed, moves=False)[:1], 4, axis=0)


@given(seeds)
def test_all_frames_are_varied_alike(seed: int) -> None:
    clip = varied(still(1), ClipAugmentation(cutout=1.0), np.random.default_rng(seed))
    assert clip.shape == (4, 32, 32, 3)
    assert clip.dtype == np.uint8
    assert (clip == clip[:1]).all()


@given(seeds)
def test_what_stood_still_does_not_move_in_a_mixture(seed: int) -> None:
    one, other = (still(1), np.float32([1, 0])), (still(2), np.float32([0, 1]))
    for settings in ALWAYS.values():
        frames, _ = mixed(one, other, settings, np.random.default_rng(seed))
        assert (frames == frames[:1]).all()


@given(seeds, st.sampled_from(sorted(ALWAYS)))
def test_labels_are_mixed_as_pixels_are(seed: int, kind: str) -> None:
    white, black = np.full((3, 16, 16, 3), 255, np.uint8), np.zeros((3, 16, 16, 3), np.uint8)
    frames, label = mixed(
        (white, np.float32([1, 0])), (black, np.float32([0, 1])), ALWAYS[kind], np.random.default_rng(seed)
    )
    assert np.isclose(label.sum(), 1)
    assert label.min() >= 0
    assert np.isclose(frames.mean() / 255, label[0], atol=0.003)


@given(seeds)
def test_a_variation_follows_from_its_seed(seed: int) -> None:
    clip = moving_square(3, moves=True)
    one, other = (varied(clip, ClipAugmentation(), np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(one, other)


def test_without_variation_nothing_changes_and_the_source_never_does() -> None:
    clip = moving_square(3, moves=True)
    before = clip.copy()
    assert np.array_equal(varied(clip, PLAIN, np.random.default_rng(0)), clip)
    for settings in (ClipAugmentation(cutout=1.0), *ALWAYS.values()):
        varied(clip, settings, np.random.default_rng(1))
        mixed((clip, np.float32([1, 0])), (clip[::-1], np.float32([0, 1])), settings, np.random.default_rng(1))
    assert np.array_equal(clip, before)


def test_a_flip_mirrors_every_frame() -> None:
    clip = moving_square(3, moves=True)
    settings = ClipAugmentation(1.0, (1.0, 1.0), *[0.0] * 9)
    assert np.array_equal(varied(clip, settings, np.random.default_rng(0)), clip[:, :, ::-1])
