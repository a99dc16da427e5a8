from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pathcast.core import InvalidInputError, PathcastError
from pathcast.training.loop import Fit, fit
from pathcast.training.settings import TrainingSettings
from pathcast.training.share import Share
from pathcast.training.workers import Workers

SETTINGS = TrainingSettings(epochs=3, batch_size=16, learning_rate=1e-2, ema=0.9, patience=3)


@dataclass(frozen=True)
class Slope:
    """Learn a linear function of four numbers through dropout."""

    scale: float = 1.0
    statistics: bool = False

    def build(self) -> keras.Model:
        inputs = keras.Input((4,), name="values")
        hidden = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
        if self.statistics:
            hidden = keras.layers.BatchNormalization(name="normal")(hidden)
        hidden = keras.layers.Dropout(0.4, name="dropout")(hidden)
        return keras.Model(inputs, keras.layers.Dense(1, dtype="float32", name="slope")(hidden))

    def steps_per_epoch(self, batch_size: int) -> int:
        return 64 // batch_size

    def batches(self, batch_size: int, random: np.random.Generator, share: Share) -> Iterator[tuple[Any, ...]]:
        values = np.random.default_rng(5).normal(size=(64, 4)).astype(np.float32)
        wanted = self.scale * values.sum(axis=1, keepdims=True)
        order = random.permutation(64)
        for start in range(0, 64, batch_size):
            rows = share.of(order[start : start + batch_size])
            yield values[rows], wanted[rows]

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        return keras.ops.mean(keras.ops.square(model(batch[0], training=True) - batch[1]))

    def validation(self, model: keras.Model, workers: Workers) -> Callable[[], Mapping[str, float]]:
        values = np.random.default_rng(6).normal(size=(64, 4)).astype(np.float32)
        wanted = values.sum(axis=1, keepdims=True)
        return lambda: {"score": float(np.square(np.asarray(model(values, training=False)) - wanted).mean())}


def weights(result: Fit) -> list[Any]:
    return [variable.value.numpy() for variable in result.model.weights]


def largest_difference(first: Fit, second: Fit) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(weights(first), weights(second), strict=True))


class Killed(Exception):
    """Stands for a SIGKILL: nothing of the training runs after it."""


@pytest.mark.parametrize(("at", "goes_on_at"), [(2, 1), (8, 7)])
def test_a_resumed_training_is_the_undisturbed_one_to_the_bit(tmp_path: Path, at: int, goes_on_at: int) -> None:
    task, settings = Slope(statistics=True), replace(SETTINGS, checkpoint_steps=3, precision="float16")
    undisturbed = fit(task, settings)

    def kill(done: int, steps: int) -> None:
        assert steps == 12
        if done == at:
            raise Killed

    file = tmp_path / "checkpoint.npz"
    with pytest.raises(Killed):
        fit(task, settings, checkpoint=file, on_step=kill)
    seen: list[int] = []
    resumed = fit(task, settings, checkpoint=file, resume=True, on_step=lambda done, steps: seen.append(done))
    assert seen[0] == goes_on_at
    assert largest_difference(undisturbed, resumed) == 0
    assert [report.loss for report in resumed.reports] == [report.loss for report in undisturbed.reports]
    assert [report.figures for report in resumed.reports] == [report.figures for report in undisturbed.reports]
    assert resumed.start == undisturbed.start


def test_pieces_of_a_batch_give_the_step_of_the_whole() -> None:
    whole = fit(Slope(), SETTINGS)
    pieces = fit(Slope(), replace(SETTINGS, accumulate=4))
    assert largest_difference(whole, pieces) < 1e-6
    assert [r.loss for r in pieces.reports] == pytest.approx([r.loss for r in whole.reports], abs=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_in_float32_weights(precision: Any) -> None:
    before = keras.config.dtype_policy().name
    result = fit(Slope(), replace(SETTINGS, epochs=6, precision=precision))
    assert result.model.get_layer("hidden").compute_dtype == precision
    assert {str(variable.dtype) for variable in result.model.weights} == {"float32"}
    assert result.reports[-1].loss < result.reports[0].loss
    assert keras.config.dtype_policy().name == before


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.npz"
    fit(Slope(), replace(SETTINGS, epochs=1), checkpoint=file)
    with pytest.raises(InvalidInputError, match="epochs 1, now 3"):
        fit(Slope(), SETTINGS, checkpoint=file, resume=True)


@pytest.mark.parametrize(
    ("settings", "share"),
    [({"batch_size": 15}, Share(0, 2)), ({"accumulate": 3}, Share(0, 1)), ({"accumulate": 4}, Share(0, 8))],
)
def test_a_batch_that_cannot_be_dealt_out_is_refused(settings: dict[str, int], share: Share) -> None:
    with pytest.raises(InvalidInputError, match="expected a batch_size that"):
        fit(Slope(), replace(SETTINGS, **settings), workers=Workers(share))


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(PathcastError, match="the loss of epoch 1 is"):
        fit(Slope(scale=float("nan")), SETTINGS)
