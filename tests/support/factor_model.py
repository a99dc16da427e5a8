"""A model that multiplies by a factor: what it answers tells which version serves."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from pathcast.registry.verdicts import SMOKE_TEST, Verdict
from pathcast.serving.triton_client import TritonClient

MODEL = "times"
ONES = {"x": np.ones((2, 3), np.float32)}
PASSED = Verdict(SMOKE_TEST, True, "right")


def write_factor_model(path: Path, factor: float) -> None:
    """The ONNX file: `x` (n, 3) times `factor` is `y`."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    constant = helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [constant])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def served_factor(client: TritonClient, model: str = MODEL) -> float:
    """The factor of the version that answers now."""
    return float(client.infer(model, ONES).outputs["y"][0, 0])
