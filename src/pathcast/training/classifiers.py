"""What the classifiers among the families share: the rules of `pathcast.recognition.choices` applied, and judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathcast.core.arrays import Float32Array, Int64Array
from pathcast.recognition.choices import Choices
from pathcast.recognition.classification import METRICS, score
from pathcast.training.family import Evaluation, Family
from pathcast.training.prepared import open_prepared


def choices(folder: Path, family: Family) -> Choices:
    """What follows from the balance of the classes that a prepared folder trains on, as its data card says."""
    return Choices(**open_prepared(folder, family).card["choices"])


def by_rule(settings: Mapping[str, Any], chosen: Choices) -> dict[str, Any]:
    """The settings with `loss` and `balance` by rule where they are None, and the training's warm-up by rule."""
    own = {"loss": chosen.loss, "balance": chosen.balance}
    filled = {name: value for name, value in own.items() if settings[name] is None}
    return {**settings, **filled, "warmup": chosen.warmup}


def judge(
    probabilities: Float32Array, labels: Int64Array, names: Sequence[str], chosen: Choices, groups: Int64Array
) -> Evaluation:
    """How `probabilities` (n, c) do against `labels` (n,), classes in the order of `names`; by the rule's metric.

    Samples of one number in `groups` (n,) resemble each other, as in `Evaluation`.
    """
    scores, said = score(probabilities, labels, names), probabilities.argmax(axis=1)
    metric = METRICS[chosen.metric]

    def metric_of(samples: Int64Array) -> float:
        return metric(said[samples], labels[samples])

    values = {name: getattr(scores, name) for name in (*METRICS, "calibration_error")}
    return Evaluation(values, len(labels), metric_of, chosen.metric, groups)
