import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.choices import choose


@pytest.mark.parametrize(
    ("counts", "loss", "balance", "metric", "warmup"),
    [
        ((10, 10), "cross_entropy", 1.0, "accuracy", 0.05),
        ((10, 15), "cross_entropy", 1.0, "accuracy", 0.05),
        ((10, 16), "cross_entropy", 0.5, "balanced_accuracy", 0.05),
        ((10, 200), "cross_entropy", 0.5, "balanced_accuracy", 0.05),
        ((10, 201), "focal", 0.5, "macro_f1", 0.1),
        ((0, 10, 15), "cross_entropy", 1.0, "accuracy", 0.05),
    ],
)
def test_the_rules(counts: tuple[int, ...], loss: str, balance: float, metric: str, warmup: float) -> None:
    found = choose({str(number): count for number, count in enumerate(counts)})
    assert (found.loss, found.balance, found.metric, found.warmup) == (loss, balance, metric, warmup)
    assert found.as_mapping()["imbalance"] == max(counts) / min(count for count in counts if count)


@pytest.mark.parametrize("counts", [{}, {"stop": 7}, {"stop": 7, "yield": 0}])
def test_one_class_is_no_choice(counts: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="two or more"):
        choose(counts)
