from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.bench_mot import _frame_by_frame
from pathcast.cli.main import app
from pathcast.serving.mot import benchmark
from pathcast.serving.mot.benchmark import Company, Latencies

ROUNDS = [
    Latencies(*(np.array(ms) for ms in ([9.0, 8.0], [10.0, 12.0], [13.0, 13.0], [14.0, 30.0], [20.0, 17.0]))),
    Latencies(*(np.array(ms) for ms in ([8.0, 9.0], [11.0, 10.0], [14.0, 12.0], [15.0, 13.0], [16.0, 40.0]))),
]


def test_frames_count_with_their_best_round_and_as_they_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company = Company(8, 0, np.ones(8), np.ones(8), 72.0, 57.0)
    for name, answer in (("measure_latencies", ROUNDS), ("measure_company", company), ("read_clip", [])):
        monkeypatch.setattr(benchmark, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr("pathcast.core.settings.load_settings", lambda _: SimpleNamespace(triton_grpc="nowhere"))
    file = tmp_path / "mot.json"
    result = CliRunner().invoke(app, ["bench", "mot", "--json", str(file)])
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row["value"] for row in json.loads(file.read_text())["rows"]}
    best, every = Latencies.best(ROUNDS), Latencies.every(ROUNDS)
    assert (best.pixels_alone.tolist(), best.jpeg.tolist()) == ([10, 10], [16, 17])
    assert every.pixels.tolist() == [14, 30, 15, 13]
    assert rows["detector + forecaster alone, JPEG, p50"] == pytest.approx(12.5)
    assert rows["added, pixels, p50"] == pytest.approx(3.5)
    assert rows["added, JPEG, p50"] == pytest.approx(4.0)
    assert rows["added, JPEG, p99"] == pytest.approx(np.percentile([16, 17], 99) - np.percentile([13, 12], 99))
    assert rows["added, JPEG, raw p99"] == pytest.approx(
        np.percentile([20, 17, 16, 40], 99) - np.percentile([13, 13, 14, 12], 99)
    )
    assert rows["added, JPEG, frame by frame, p99"] == pytest.approx(np.percentile([3, 5], 99))
    assert rows["nothing added, JPEG, frame by frame, p99"] == pytest.approx(np.percentile([1, -1], 99))
    assert rows["mot, pixels, raw p99"] == pytest.approx(np.percentile([14, 30, 15, 13], 99))
    assert rows["detector + forecaster, requests only, p99"] == pytest.approx(8.0)
    assert rows["added to requests only, pixels, p50"] == pytest.approx(5.5)
    assert rows["added to requests only, JPEG, raw p99"] == pytest.approx(
        np.percentile([20, 17, 16, 40], 99) - np.percentile([9, 8, 8, 9], 99)
    )


def test_halves_of_the_rounds_are_as_large() -> None:
    def nothing_added(rounds: list[Latencies]) -> list[float]:
        return [row.value for row in _frame_by_frame(rounds) if row.name.startswith("nothing")]

    assert nothing_added(ROUNDS[:1]) == []
    quick = Latencies(*([np.zeros(2)] * 5))
    assert nothing_added([*ROUNDS, quick]) == nothing_added(ROUNDS)
