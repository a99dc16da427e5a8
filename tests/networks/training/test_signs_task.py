import numpy as np
import pytest
from support.gtsrb import picture
from support.shared_validation import validated_by

from pathcast.recognition.sign_augmentation import MARGIN
from pathcast.recognition.sign_settings import SignSettings
from pathcast.training.share import Share
from pathcast.training.signs_data import Signs
from pathcast.training.signs_task import SignsTask, divergence

SIDE = 48 + 2 * MARGIN
TINY = SignSettings(channels=4, blocks=(1, 1), dropout=0.0)


def signs(counts: dict[int, int], first: int = 0) -> Signs:
    labels = [label for label, count in counts.items() for _ in range(count)]
    images = [picture(label, first + number, SIDE) for number, label in enumerate(labels)]
    return Signs(np.stack(images), np.array(labels), np.arange(len(labels)))


def test_workers_together_see_the_batches_of_one() -> None:
    task = SignsTask(signs({1: 20, 14: 20}), signs({1: 2}), TINY)
    alone = list(task.batches(8, np.random.default_rng(5), Share()))
    halves = [list(task.batches(8, np.random.default_rng(5), Share(index, 2))) for index in range(2)]
    assert len(alone) == task.steps_per_epoch(8) == 5
    for whole, first, second in zip(alone, *halves, strict=True):
        for array, one, two in zip(whole, first, second, strict=True):
            assert np.array_equal(array, np.concatenate([one, two]))


@pytest.mark.parametrize(("balance", "share"), [(1.0, 0.9), (0.5, 0.75), (0.0, 0.5)])
def test_balance_says_how_often_a_class_is_drawn(balance: float, share: float) -> None:
    task = SignsTask(signs({1: 90, 2: 10}), signs({1: 2}), TINY, balance=balance)
    epochs = [task.batches(50, np.random.default_rng(seed), Share()) for seed in range(10)]
    drawn = np.concatenate([labels for batches in epochs for _, labels in batches])
    assert (drawn == 1).mean() == pytest.approx(share, abs=0.05)


def test_workers_that_share_the_validation_find_what_one_finds() -> None:
    task = SignsTask(signs({1: 2}), signs({1: 3, 14: 2}), TINY)
    model = task.build()
    (alone,), together = validated_by(1, task, model), validated_by(6, task, model)
    assert together == [pytest.approx(alone, abs=1e-6)] * 6


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_score_is_least_where_the_network_says_what_it_is_told(smoothing: float) -> None:
    labels = np.array([3, 0])
    told = np.eye(43)[labels] * (1 - smoothing) + smoothing / 43
    assert divergence(told.astype(np.float32), labels, smoothing) == pytest.approx(0.0, abs=1e-5)
    for other in (0.5, 0.8, 0.97):
        said = np.eye(43)[labels] * other + (1 - other) / 43
        assert divergence(said.astype(np.float32), labels, smoothing) > 1e-3
    wrong = np.roll(told, 1, axis=1).astype(np.float32)
    assert divergence(wrong, labels, smoothing) > 2
