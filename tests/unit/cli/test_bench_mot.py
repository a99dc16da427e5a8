from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.serving.mot import benchmark
from pathcast.serving.mot.benchmark import Company, Latencies

ROUNDS = [
    Latencies(np.array([10.0, 12.0]), np.array([13.0, 13.0]), np.array([14.0, 30.0]), np.array([20.0, 17.0])),
    Latencies(np.array([11.0, 10.0]), np.array([14.0, 12.0]), np.array([15.0, 13.0]), np.array([16.0, 40.0])),
]


def test_frames_count_with_their_best_round_and_as_they_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company = Company(8, 0, np.ones(8), np.ones(8), 72.0, 57.0)
    for name, answer in (("measure_latencies", ROUNDS), ("measure_company", company), ("read_clip", [])):
        monkeypatch.setattr(benchmark, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr("pathcast.core.settings.load_settings", lambda _: SimpleNamespace(triton_grpc="nowhere"))
    file = tmp_path / "mot.json"
    result = CliRunner().invoke(app, ["bench", "mot", "--json", str(file)])
    assert result.exit_code == 0, result.output
    every_row = json.loads(file.read_text())["rows"]
    rows = {row["name"]: row["value"] for row in every_row if "by hand" not in (row["ratio_to"] or "")}
    best, every = Latencies.best(ROUNDS), Latencies.every(ROUNDS)
    assert (best.alone.tolist(), best.jpeg.tolist()) == ([10, 10], [16, 17])
    assert every.pixels.tolist() == [14, 30, 15, 13]
    assert rows["added, JPEG, p50"] == pytest.approx(6.5)
    assert rows["added, JPEG, p99"] == pytest.approx(np.percentile([6, 7], 99))
    assert rows["added, JPEG, raw p99"] == pytest.approx(np.percentile([10, 5, 5, 30], 99))
    assert rows["mot, pixels, raw p99"] == pytest.approx(np.percentile([14, 30, 15, 13], 99))
