from pathlib import Path

import numpy as np
import pytest
from support.gtsrb import write_gtsrb

from pathcast.recognition.choices import choose
from pathcast.training.classifiers import by_rule, choices, judge
from pathcast.training.prepared import prepare
from pathcast.training.signs import FAMILY
from pathcast.training.train_family import Job

EVEN, RARE = choose({"a": 10, "b": 12}), choose({"a": 10, "b": 400})


@pytest.mark.parametrize(
    ("given", "chosen", "expected"),
    [
        ({"loss": None, "balance": None}, EVEN, {"loss": "cross_entropy", "balance": 1.0, "warmup": 0.05}),
        ({"loss": None, "balance": None}, RARE, {"loss": "focal", "balance": 0.5, "warmup": 0.1}),
        ({"loss": "cross_entropy", "balance": 0.0}, RARE, {"loss": "cross_entropy", "balance": 0.0, "warmup": 0.1}),
    ],
)
def test_what_is_not_set_follows_the_rules(given, chosen, expected) -> None:
    assert by_rule(given, chosen) == expected


def test_the_rules_metric_judges() -> None:
    probabilities = np.array([[0.9, 0.1]] * 9 + [[0.8, 0.2]], np.float32)
    labels, every = np.array([0] * 9 + [1]), np.arange(10)
    for chosen, name, value in ((EVEN, "accuracy", 0.9), (RARE, "macro_f1", 9 / 19)):
        found = judge(probabilities, labels, ("a", "b"), chosen, every // 2)
        assert found.metric == name
        assert found.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert found.metric_of(every) == pytest.approx(found.metrics[name]) == pytest.approx(value)


def test_a_training_takes_its_warm_up_from_the_data_unless_it_is_set(tmp_path: Path) -> None:
    write_gtsrb(tmp_path / "raw", (0, 1))
    data = prepare(FAMILY, tmp_path / "raw", tmp_path / "data")
    assert choices(data.folder, FAMILY).metric == "accuracy"
    job = Job.of(FAMILY, data, tmp_path / "out")
    assert (job.settings["loss"], job.settings["balance"], job.training.warmup) == ("cross_entropy", 1.0, 0.05)
    card = data.folder / "data_card.json"
    card.write_text(card.read_text().replace('"warmup": 0.05', '"warmup": 0.1'))
    assert Job.of(FAMILY, data, tmp_path / "out").training.warmup == 0.1
    assert Job.of(FAMILY, data, tmp_path / "out", {"warmup": 0.2}).training.warmup == 0.2
    assert "warmup" not in job.settings
