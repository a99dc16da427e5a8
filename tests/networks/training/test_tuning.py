"""The search for the settings of a network."""

import numpy as np
import optuna
import pytest

from pathcast.training.family import find_family
from pathcast.training.family_tuning import FamilySearch
from pathcast.training.prepared import prepare


def test_a_network_is_searched_by_its_validation_score(tmp_path):
    family = find_family("forecaster")
    random = np.random.default_rng(1)
    rows = []
    for track in range(30):
        places = random.uniform(-0.6, 0.6, 2) * np.arange(24)[:, None] + random.normal(0, 0.02, (24, 2))
        rows += [(10 * step, track, x, y) for step, (x, y) in enumerate(places)]
    (tmp_path / "walks.txt").write_text("".join(f"{f} {t} {x:.4f} {y:.4f}\n" for f, t, x, y in sorted(rows)))
    data = prepare(family, tmp_path / "walks.txt", tmp_path / "data")
    search = FamilySearch("forecaster", data.folder, {"epochs": 2, "batch_size": 32, "units": 8, "modes": 4}, 0)
    assert search.facts() == {"family": "forecaster", "data_version": data.version}
    assert {"learning_rate", "dropout"} <= search.start().keys()
    trials = search.open()
    assert 0 < trials.seconds() < 60
    reports = []
    best = trials.run({"learning_rate": 0.01}, lambda step, value: reports.append((step, value)))
    assert [step for step, _ in reports] == [1, 2]
    assert best == min(value for _, value in reports)

    def stop(step, value):
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        trials.run({}, stop)
