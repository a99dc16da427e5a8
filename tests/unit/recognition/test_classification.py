import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import balanced_accuracy_score, f1_score

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.classification import (
    METRICS,
    bootstrap_interval,
    calibration_error,
    score,
    wilson_interval,
)

NAMES = ("stop", "yield", "ahead")


def sure(said: list[int], confidence: float = 1.0) -> np.ndarray:
    """Probabilities whose likeliest class is as said."""
    rest = (1 - confidence) / (len(NAMES) - 1)
    table = np.full((len(said), len(NAMES)), rest, np.float32)
    table[np.arange(len(said)), said] = confidence
    return table


def test_the_truth_scores_perfectly() -> None:
    labels = np.array([0, 1, 2, 2])
    scores = score(sure([0, 1, 2, 2]), labels, NAMES)
    assert (scores.accuracy, scores.balanced_accuracy, scores.macro_f1, scores.calibration_error) == (1, 1, 1, 0)
    assert scores.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 2]]
    assert scores.accuracy_interval[1] == 1.0


def test_each_class_counts_alike_in_the_balanced_figures() -> None:
    # 8 of 8 stops, 1 of 2 yields; nothing ahead: that class is left out of the means.
    scores = score(sure([0] * 8 + [1, 0]), np.array([0] * 8 + [1, 1]), NAMES)
    assert scores.accuracy == pytest.approx(0.9)
    assert scores.balanced_accuracy == pytest.approx(0.75)
    assert scores.macro_f1 == pytest.approx((16 / 17 + 2 / 3) / 2)
    assert scores.confusion[1].tolist() == [1, 1, 0]
    assert (scores.classes["stop"].precision, scores.classes["yield"].recall) == (pytest.approx(8 / 9), 0.5)
    assert [each.samples for each in scores.classes.values()] == [8, 2, 0]


@given(arrays.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 2)), st.integers(0, 2**32))
def test_the_figures_are_those_of_the_reference(labels: np.ndarray, seed: int) -> None:
    said = np.random.default_rng(seed).integers(0, 3, len(labels))
    scores = score(sure(said.tolist(), 0.6), labels, NAMES)
    occurring = sorted(set(labels.tolist()))
    recalls = [np.mean(said[labels == each] == each) for each in occurring]
    assert scores.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert scores.macro_f1 == pytest.approx(f1_score(labels, said, labels=occurring, average="macro", zero_division=0))
    for name, metric in METRICS.items():
        assert metric(said, labels) == pytest.approx(getattr(scores, name)), name
    if len(occurring) > 1 and set(said.tolist()) <= set(occurring):
        assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, said))


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [(0.8, 8, 0.0), (0.9, 8, 0.1), (0.6, 8, 0.2), (1.0, 0, 1.0)],
)
def test_calibration_is_the_gap_between_confidence_and_accuracy(confidence: float, right: int, error: float) -> None:
    probabilities = sure([0] * 10, confidence)
    assert calibration_error(probabilities, np.array([0] * right + [1] * (10 - right))) == pytest.approx(
        error, abs=1e-6
    )


@pytest.mark.parametrize("right", [0, 1, 50, 99, 100])
def test_wilson_holds_the_share_and_stays_inside(right: int) -> None:
    low, high = wilson_interval(right, 100)
    assert 0 <= low <= right / 100 <= high <= 1
    assert high - low > 0.03


def test_the_bootstrap_agrees_with_wilson_on_a_share() -> None:
    correct = np.arange(400) < 380
    low, high = bootstrap_interval(lambda chosen: float(correct[chosen].mean()), 400)
    assert (low, high) == pytest.approx(wilson_interval(380, 400), abs=0.006)


@pytest.mark.parametrize(
    ("probabilities", "labels", "expectation"),
    [
        (np.zeros((0, 3)), np.zeros(0, np.int64), "one sample or more"),
        (np.full((2, 4), 0.25), np.array([0, 1]), "by 3 classes"),
        (np.full((2, 3), 0.25), np.array([0]), "one label each"),
        (np.full((2, 3), 0.25), np.array([0, 3]), "sample 1: expected a label of 0 to 2, got 3"),
        (np.full((2, 3), np.nan), np.array([0, 1]), "sample 0: expected finite"),
    ],
)
def test_what_cannot_be_scored_is_named(probabilities: np.ndarray, labels: np.ndarray, expectation: str) -> None:
    with pytest.raises(InvalidInputError, match=expectation):
        score(probabilities.astype(np.float32), labels, NAMES)
