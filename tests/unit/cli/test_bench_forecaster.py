from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli import bench_forecaster
from pathcast.cli.main import app
from pathcast.core import InvalidInputError

MODEL = Path(__file__).parents[3] / "model_repo" / "forecaster" / "1" / "model.onnx"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["bench", "forecaster", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_number_of_agents_is_timed(tmp_path: Path) -> None:
    output = run("--model", MODEL, "--rounds", 2, "--json", tmp_path / "it.json")
    rows = json.loads((tmp_path / "it.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [
        f"onnxruntime, {agents} agents, {kind}" for agents in (1, 100, 1000) for kind in ("median", "fastest")
    ]
    assert all(row["value"] > 0 and row["unit"] == "ms" and row["ratio"] is None for row in rows)
    assert rows[4]["value"] >= rows[5]["value"] > rows[1]["value"]
    assert "1000 agents" in output


def test_triton_stands_beside_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        bench_forecaster, "_through_triton", lambda name, state: lambda inputs: asked.append(len(inputs["observed"]))
    )
    run("--model", MODEL, "--rounds", 1, "--triton", "--json", tmp_path / "it.json")
    rows = {row["name"]: row for row in json.loads((tmp_path / "it.json").read_text())["rows"]}
    beside = rows["Triton, 1000 agents, median"]
    own = rows["onnxruntime, 1000 agents, median"]
    assert beside["ratio_to"] == own["name"]
    assert beside["ratio"] == pytest.approx(beside["value"] / own["value"])
    assert set(asked) == {1, 100, 1000}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.onnx: no such file\n.*pathcast export forecaster"):
        run("--model", tmp_path / "none.onnx")


def test_a_model_of_another_family_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="model.onnx: .*observed"):
        run("--model", MODEL.parents[2] / "signs" / "1" / "model.onnx")


def test_a_served_name_needs_triton() -> None:
    with pytest.raises(InvalidInputError, match="--name: expected with --triton"):
        run("--model", MODEL, "--name", "forecaster_2")
