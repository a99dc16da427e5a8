import json
from pathlib import Path

import numpy as np
import pytest

from pathcast.cli.recognition_report import report
from pathcast.recognition.classification import score


def test_the_report_prints_the_weakest_class_and_writes_json_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]], np.float32)
    scores = score(probabilities, np.array([0, 1, 1, 0]), ("stop", "yield"))
    report("signs", scores, 1234.0, tmp_path / "scores.json", tmp_path / "plots", {"model": "signs"})
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["accuracy"] == 0.75
    assert written["accuracy_interval"] == list(scores.accuracy_interval)
    assert written["classes"]["yield"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "samples": 2}
    assert {"balanced_accuracy", "macro_f1", "calibration_error", "samples", "samples_per_s", "model"} <= set(written)
    printed = capsys.readouterr().out
    assert "75.00%" in printed
    assert "yield" in printed
    assert (tmp_path / "plots" / "confusion.png").stat().st_size > 1000
