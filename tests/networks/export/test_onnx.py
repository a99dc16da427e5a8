from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from pathcast.core import GateFailedError, InvalidInputError, PathcastError
from pathcast.export.forecaster import write_forecaster
from pathcast.export.onnx import IR_VERSION, OPSET, to_onnx
from pathcast.export.parity import Arrays, check_parity, open_session
from pathcast.forecasting.model import build_forecaster, restore_forecaster
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import shipped_forecaster
from pathcast.forecasting.walks import random_walks

ROOT = Path(__file__).parents[3]
TOLERANCE = {"paths": 1e-4, "log_probs": 1e-4}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return restore_forecaster(shipped_forecaster())


@pytest.fixture(scope="module")
def exported(network: keras.Model) -> onnx.ModelProto:
    return to_onnx(network, ("paths", "log_probs"))


def test_lstm_layers_are_single_nodes_and_names_are_the_contract(exported: onnx.ModelProto) -> None:
    kinds = Counter(node.op_type for node in exported.graph.node)
    assert kinds["LSTM"] == 2
    assert not {"Loop", "Scan", "If"} & kinds.keys()
    assert {node.domain for node in exported.graph.node} == {""}
    assert (exported.ir_version, [entry.version for entry in exported.opset_import]) == (IR_VERSION, [OPSET])
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in [*exported.graph.input, *exported.graph.output]
    }
    assert shapes == {
        "observed": ["batch", 8, 2],
        "neighbours": ["batch", 8, 5],
        "paths": ["batch", 20, 12, 2],
        "log_probs": ["batch", 20],
    }


@pytest.mark.parametrize("count", [1, 2, 700])
def test_the_file_computes_what_the_network_computes(
    network: keras.Model, exported: onnx.ModelProto, count: int
) -> None:
    def reference(inputs: Arrays) -> Arrays:
        return {name: np.asarray(value) for name, value in network(dict(inputs), training=False).items()}

    walks = random_walks(count, seed=count)
    parity = check_parity(reference, exported.SerializeToString(), walks, tolerance=TOLERANCE)
    assert parity.samples == count
    assert parity.largest <= 1e-4


def test_a_file_of_other_weights_fails_parity(exported: onnx.ModelProto) -> None:
    other = build_forecaster(ForecasterSettings())

    def reference(inputs: Arrays) -> Arrays:
        return {name: np.asarray(value) for name, value in other(dict(inputs), training=False).items()}

    with pytest.raises(GateFailedError, match="parity: output paths: expected differences of at most 0.0001"):
        check_parity(reference, exported.SerializeToString(), random_walks(4, seed=0), tolerance=TOLERANCE)


def test_nothing_to_compare_is_an_error(exported: onnx.ModelProto) -> None:
    with pytest.raises(InvalidInputError, match="expected samples"):
        check_parity(
            lambda inputs: inputs,
            exported.SerializeToString(),
            random_walks(0, seed=0),
            tolerance=TOLERANCE,
        )


def test_an_unknown_output_is_an_error(network: keras.Model) -> None:
    with pytest.raises(PathcastError, match="'speeds'"):
        to_onnx(network, ("paths", "speeds"))


@pytest.mark.parametrize("states", [False, True])
def test_lstm_layers_of_either_kind_keep_their_numbers(states: bool) -> None:
    keras.utils.set_random_seed(1)
    source = keras.Input((5, 3), name="steps")
    first, hidden, cell = keras.layers.LSTM(4, return_sequences=True, return_state=True, use_bias=True)(source)
    second = keras.layers.LSTM(4)(first, initial_state=[hidden, cell] if states else None)
    model = keras.Model(source, {"sequence": first, "last": second, "cell": cell})
    steps = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    session = open_session(to_onnx(model, ("sequence", "last", "cell")).SerializeToString())
    expected = model(steps)
    for name, values in zip(("sequence", "last", "cell"), session.run(None, {"steps": steps}), strict=True):
        np.testing.assert_allclose(values, np.asarray(expected[name]), atol=1e-5)


def test_upsampling_is_one_operator_that_onnxruntime_keeps_in_its_blocked_layout() -> None:
    source = keras.Input((4, 6, 3), name="features")
    model = keras.Model(source, {"larger": keras.layers.UpSampling2D((2, 3))(source)})
    exported = to_onnx(model, ("larger",))
    (resize,) = [node for node in exported.graph.node if node.op_type not in ("Transpose", "Identity")]
    assert resize.op_type == "Resize"
    how = {each.name: onnx.helper.get_attribute_value(each) for each in resize.attribute}
    assert how["mode"] == b"nearest"
    assert how["coordinate_transformation_mode"] == b"asymmetric"
    assert how["nearest_mode"] == b"floor"
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    np.testing.assert_array_equal(constants[resize.input[2]], [1, 1, 2, 3])
    features = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    (larger,) = open_session(exported.SerializeToString()).run(["larger"], {"features": features})
    np.testing.assert_array_equal(larger, np.asarray(model(features)["larger"]))


def test_the_shipped_file_is_the_shipped_weights(tmp_path: Path) -> None:
    write_forecaster(shipped_forecaster(), tmp_path)
    walks = random_walks(64, seed=9)
    fresh, shipped = (
        open_session(folder / "1" / "model.onnx").run(["paths"], walks)[0]
        for folder in (tmp_path, ROOT / "model_repo" / "forecaster")
    )
    np.testing.assert_allclose(fresh, shipped, atol=1e-5)
    config = (ROOT / "model_repo" / "forecaster" / "config.pbtxt").read_text(encoding="utf-8")
    assert (tmp_path / "config.pbtxt").read_text(encoding="utf-8") == config
