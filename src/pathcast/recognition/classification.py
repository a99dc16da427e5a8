"""How well a classifier does on samples with known answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from pathcast.core.arrays import Float32Array, Float64Array, Int64Array
from pathcast.core.errors import InvalidInputError
from pathcast.recognition.choices import Metric

CALIBRATION_BINS = 15
CONFIDENCE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: of those said to be of it (precision), of those that are (recall), and how many are."""

    precision: float
    recall: float
    f1: float
    samples: int


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationScores:
    """Fractions. `balanced_accuracy` and `macro_f1` are means over the classes that occur in the samples.

    `accuracy_interval` is Wilson's, at 95%. `calibration_error` is the expected one: how far the probability of the
    likeliest class is from how often it is right (Guo et al. 2017, arXiv:1706.04599), over 15 equal bins.
    `confusion` (c, c) counts samples: row the true class, column the class said.
    """

    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float
    classes: Mapping[str, ClassScore]
    confusion: Int64Array
    samples: int


def score(probabilities: Float32Array, labels: Int64Array, names: Sequence[str]) -> ClassificationScores:
    """Scores of `probabilities` (n, c) against `labels` (n,), classes in the order of `names`.

    Raises InvalidInputError where there are no samples, the number of classes is another, a label is none of them or
    a value is not finite.
    """
    _check(probabilities, labels, names)
    said = probabilities.argmax(axis=1)
    every = range(len(names))
    table = np.asarray(confusion_matrix(labels, said, labels=every), np.int64)
    precision, recall, f1, samples = precision_recall_fscore_support(labels, said, labels=every, zero_division=0.0)
    occurs = samples > 0
    right = int(np.trace(table))
    return ClassificationScores(
        accuracy=right / len(labels),
        accuracy_interval=wilson_interval(right, len(labels)),
        balanced_accuracy=float(recall[occurs].mean()),
        macro_f1=float(f1[occurs].mean()),
        calibration_error=calibration_error(probabilities, labels),
        classes={
            name: ClassScore(float(precision[row]), float(recall[row]), float(f1[row]), int(samples[row]))
            for row, name in enumerate(names)
        },
        confusion=table,
        samples=len(labels),
    )


def balanced_accuracy(said: Int64Array, labels: Int64Array) -> float:
    """The mean over the classes in `labels` of the share that is said right; quick enough for a bootstrap.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    0.75
    """
    counts = np.bincount(labels)
    right = np.bincount(labels[said == labels], minlength=len(counts))
    return float((right[counts > 0] / counts[counts > 0]).mean())


def accuracy(said: Int64Array, labels: Int64Array) -> float:
    """The share that is said right."""
    return float((said == labels).mean())


def macro_f1(said: Int64Array, labels: Int64Array) -> float:
    """The mean over the classes in `labels` of F1; quick enough for a bootstrap.

    >>> round(macro_f1(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])), 4)
    0.7333
    """
    size = int(max(said.max(), labels.max())) + 1
    counts, right = np.bincount(labels, minlength=size), np.bincount(labels[said == labels], minlength=size)
    both = counts + np.bincount(said, minlength=size)
    return float((2 * right[counts > 0] / both[counts > 0]).mean())


METRICS: Mapping[Metric, Callable[[Int64Array, Int64Array], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
"""Of the classes said and the true ones, each (n,)."""


def wilson_interval(right: int, samples: int) -> Interval:
    """Where the true share lies with 95% confidence when `right` of `samples` are right (Wilson 1927).

    >>> low, high = wilson_interval(2470, 2500)
    >>> f"{low:.4f} {high:.4f}"
    '0.9829 0.9916'
    """
    interval = binomtest(right, samples).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    metric_of: Callable[[Int64Array], float], samples: int, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The 95% percentile interval of any metric over samples, by drawing them again with replacement.

    `metric_of` takes indices of samples, with repeats (Efron and Tibshirani 1993, chapter 13).
    """
    random = np.random.default_rng(seed)
    drawn = [metric_of(random.integers(0, samples, samples)) for _ in range(resamples)]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def calibration_error(probabilities: Float32Array, labels: Int64Array) -> float:
    """The expected calibration error: the mean gap between confidence and accuracy, bins weighted by samples."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = _summed(bins, confidence) - _summed(bins, right)
    return float(np.abs(gaps).sum() / len(labels))


def _summed(bins: Int64Array, values: Float64Array) -> Float64Array:
    return np.asarray(np.bincount(bins, weights=values, minlength=CALIBRATION_BINS), np.float64)


def _check(probabilities: Float32Array, labels: Int64Array, names: Sequence[str]) -> None:
    if labels.ndim != 1 or not len(labels) or probabilities.shape != (len(labels), len(names)):
        raise InvalidInputError(
            f"classification: expected probabilities of one sample or more by {len(names)} classes and one label each, "
            f"got shapes {probabilities.shape} and {labels.shape}",
            hint="the model was trained for other classes, or the folder holds no samples",
        )
    outside = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(outside):
        raise InvalidInputError(
            f"classification: sample {outside[0]}: expected a label of 0 to {len(names) - 1}, got {labels[outside[0]]}"
        )
    if not np.isfinite(probabilities).all():
        row = int(np.argwhere(~np.isfinite(probabilities))[0][0])
        raise InvalidInputError(f"classification: sample {row}: expected finite probabilities")
