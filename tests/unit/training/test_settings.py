from __future__ import annotations

import pytest

from pathcast.core import InvalidInputError
from pathcast.training.settings import TrainingSettings


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup=0.1)
    rates = [settings.learning_rate_at(step, 100) for step in range(101)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == rates[10] == 1.0
    assert rates[0] > 0.0
    assert rates[100] == pytest.approx(0.0)


def test_no_warmup_starts_at_the_top() -> None:
    assert TrainingSettings(learning_rate=0.5, warmup=0.0).learning_rate_at(0, 10) == 0.5


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"ema": 1.0},
        {"warmup": -0.1},
        {"normalisation": "some"},
    ],
)
def test_settings_without_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="training: expected"):
        TrainingSettings(**values)  # type: ignore[arg-type]
