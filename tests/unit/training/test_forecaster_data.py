"""Prepared windows as the family writes and reads them: short ones, old ones, and a champion that was told less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pathcast.core.errors import InvalidInputError
from pathcast.forecasting.windows import Windows
from pathcast.training.forecaster import FAMILY
from pathcast.training.forecaster_data import prepare_windows, read_windows


def write(folder: Path, count: int, *, without: tuple[str, ...] = ()) -> Path:
    steps = np.arange(20.0)[:, None] * [0.5, 0.0]
    windows = Windows(np.tile(steps, (count, 1, 1)), np.arange(count) // 2, "m")
    arrays = {name: values for name, values in windows.arrays().items() if name not in without}
    np.savez(folder / "test.npz", units=np.array("m"), **arrays)
    return folder


@pytest.mark.parametrize("count", [1, 7, 9])
def test_examples_are_eight_or_as_many_as_there_are(tmp_path: Path, count: int) -> None:
    examples = FAMILY.examples({}, write(tmp_path, count))
    assert {name: len(values) for name, values in examples.items()} == {
        "observed": min(count, 8),
        "neighbours": min(count, 8),
    }


@pytest.mark.parametrize("name", ["neighbours", "neighbours_backwards"])
def test_a_folder_from_before_neighbours_is_to_be_prepared_again(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"expected windows: .*{name}") as error:
        read_windows(write(tmp_path, 2, without=(name,)), "test")
    assert "prepare the folder again" in str(error.value.hint)


def test_who_is_not_learned_from_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in "abc":
        rows = [(10 * step, track, step, track) for track, steps in ((1, 20), (2, 19)) for step in range(steps)]
        text = "".join(f"{frame} {track} {x} {y}\n" for frame, track, x, y in rows)
        (tmp_path / "raw" / f"{name}.txt").write_text(text, encoding="utf-8")
    prepare_windows(tmp_path / "raw", tmp_path, {"test_share": 0.3, "val_share": 0.3})
    for part in ("train", "val", "test"):
        windows = read_windows(tmp_path, part)
        assert windows.neighbours[:, 0].tolist() == [[7.0, 2.0, 1.0, 0.0, 1.0]]


def test_a_champion_that_is_told_of_nobody_is_judged_all_the_same(tmp_path: Path) -> None:
    # It stays where it is: the last observed position, for each of two modes and twelve steps.
    last = helper.make_node("Slice", ["observed", "seven", "eight", "axis"], ["last"])
    paths = helper.make_node("Expand", ["four", "shape"], ["paths"])
    nodes = [last, helper.make_node("Unsqueeze", ["last", "axis"], ["four"]), paths]
    nodes.append(helper.make_node("ReduceSum", ["paths", "rest"], ["log_probs"], keepdims=0))
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        for name, values in (("seven", [7]), ("eight", [8]), ("axis", [1]), ("shape", [1, 2, 12, 1]), ("rest", [2, 3]))
    ]
    observed = helper.make_tensor_value_info("observed", TensorProto.FLOAT, ["n", 8, 2])
    outputs = [
        helper.make_tensor_value_info("paths", TensorProto.FLOAT, ["n", 2, 12, 2]),
        helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["n", 2]),
    ]
    graph = helper.make_graph(nodes, "stand still", [observed], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    judged = FAMILY.evaluate(tmp_path / "m.onnx", write(tmp_path, 3))
    assert judged.metrics["ade"] == pytest.approx(0.5 * 6.5)
    assert judged.groups.tolist() == [0, 0, 1]  # the tracks


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"val_share": 0.2}, "val_share: not used for ETH/UCY's own split, held_out and split_seed may be"),
        ({"min_steps": 30, "frame_rate": 25}, "frame_rate, min_steps: not used"),
        ({"held_out": "hotel", "split_seed": 2}, "split_seed: not used for ETH/UCY's own split, held_out may be"),
        ({"val_share": "much"}, "val_share: expected a number, got 'much'"),
    ],
)
def test_options_that_change_nothing_are_refused(tmp_path: Path, options: dict[str, object], complaint: str) -> None:
    (tmp_path / "all_data").mkdir()
    with pytest.raises(InvalidInputError, match=complaint):
        prepare_windows(tmp_path, tmp_path, options)
