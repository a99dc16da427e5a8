"""How the demo's training ends."""

from __future__ import annotations

from unittest.mock import MagicMock, Mock

import pytest

from pathcast.core.errors import GateFailedError
from pathcast.local.demo import training


@pytest.mark.parametrize("step", ["deploy_model", "smoke_test", "promote_model"])
@pytest.mark.parametrize("end", [GateFailedError("refused"), KeyboardInterrupt()], ids=["gate", "Ctrl-C"])
def test_a_trial_that_is_cut_short_is_ended(step: str, end: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("select_tracks", "prepare", "TrainedModel", "Job", "train_family", "FAMILY"):
        monkeypatch.setattr(training, name, MagicMock())
    lifecycle, models = MagicMock(), Mock()
    lifecycle.export_onnx.return_value = {"paths": 0.0}
    getattr(lifecycle, step).side_effect = end
    monkeypatch.setattr(training, "lifecycle", lifecycle)
    monkeypatch.setattr(training, "ModelLifecycle", models)
    with pytest.raises(type(end)):
        training.train_and_serve(Mock(), Mock(), Mock(), Mock())
    models().withdraw_challenger.assert_called_once()
    run = lifecycle.deploy_model.call_args.kwargs["run"]
    assert models().withdraw_challenger.call_args.kwargs == {"run": run}
