from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathcast.detection import yolox_import
from pathcast.detection.classes import COCO_CLASS_IDS
from pathcast.detection.grid import grid
from pathcast.detection.postprocess import to_detections
from pathcast.detection.preprocess import letterbox
from pathcast.detection.settings import TOP_K
from pathcast.detection.yolox_graph import keep_classes, pool_in_turn
from pathcast.detection.yolox_import import read_yolox, to_served

CLASSES = 7


def saved_model(
    nodes: list[onnx.NodeProto], given: list[int], found: list[int | str], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, found)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: images}))


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def test_served_nano_gives_the_same_scores_with_less_work(yolox_path: Path, real_frames: list[np.ndarray]) -> None:
    source = read_yolox(yolox_path)
    served = to_served(source)
    assert "Slice" not in operators(served)
    pools = [tuple(each.ints) for node in served.graph.node for each in node.attribute if each.name == "kernel_shape"]
    assert pools.count((5, 5)) == 3
    heads = [tensor.dims[0] for tensor in served.graph.initializer if "cls_preds" in tensor.name]
    assert heads == [len(COCO_CLASS_IDS)] * 6
    canvas = np.empty((1, source.height, source.width, 3), np.uint8)
    letterbox(real_frames[0], canvas[0])
    (raw,) = run(source.model, source.input_of(canvas[0]))
    scores = (raw[0, :, 4:5] * raw[0, :, [5 + coco_id for coco_id in COCO_CLASS_IDS]].T).max(axis=1)
    best = np.sort(scores)[: -TOP_K - 1 : -1]
    np.testing.assert_allclose(run(served, canvas)[1][0], best, rtol=1e-4, atol=1e-6)


def focused_yolox(
    path: Path, order: tuple[int, int, int, int] = (0, 1, 2, 3), also: str = "", side: int = 3, **convolved: Any
) -> Path:
    """A file of 96 x 64 pixels whose raw output is 10,710 numbers of what is convolved behind its Focus.

    `also` is used a second time. The weights are whole numbers, so that sums are exact in any order.
    """
    height, width = 64, 96
    cells = len(grid(height, width)[1])
    random = np.random.default_rng(1)
    chosen = random.permutation(3 * height * width)[: cells * 85]
    nodes = []
    for quarter, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        nodes.append(helper.make_node("Slice", ["images", f"from{row}", "end", "down", "two"], [f"rows{quarter}"]))
        nodes.append(
            helper.make_node(
                "Slice", [f"rows{quarter}", f"from{column}", "end", "across", "two"], [f"quarter{quarter}"]
            )
        )
    convolved = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4} | convolved
    nodes += [
        helper.make_node("Concat", [f"quarter{quarter}" for quarter in order], ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "weights", "bias"], ["convolved"], **convolved),
        helper.make_node("Reshape", ["convolved", "flat"], ["row"]),
        helper.make_node("Gather", ["row", "chosen"], ["some"], axis=1),
        helper.make_node("Mul", ["some", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["output"]),
        *([helper.make_node("Relu", [also], ["unused"])] if also else []),
    ]
    constants = {
        "from0": np.array([0]),
        "from1": np.array([1]),
        "end": np.array([2**31 - 1]),
        "down": np.array([2]),
        "across": np.array([3]),
        "two": np.array([2]),
        "weights": random.integers(-9, 10, (12, 12 // convolved.get("group", 1), side, side)).astype(np.float32),
        "bias": random.integers(-99, 100, 12).astype(np.float32),
        "flat": np.array([1, 3 * height * width]),
        "chosen": chosen,
        "scale": np.array(1 / 65536, np.float32),
        "shape": np.array([1, cells, 85]),
    }
    onnx.save(saved_model(nodes, [1, 3, height, width], [1, cells, 85], constants), str(path))
    return path


def test_one_convolution_stands_for_focus_and_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_yolox(focused_yolox(tmp_path / "focused.onnx"))
    served = to_served(source, top_k=50)
    monkeypatch.setattr(yolox_import, "convolve_focus", lambda model, images: False)
    plain = to_served(source, top_k=50)
    assert ("Slice" in operators(served), "Slice" in operators(plain)) == (False, True)
    assert {"end", "two"} & {tensor.name for tensor in served.graph.initializer} == set()
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 96, 3), np.uint8)
    for one, other in zip(run(served, images), run(plain, images), strict=True):
        assert one.tobytes() == other.tobytes()
        assert one[0].tobytes() != one[1].tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"order": (0, 2, 1, 3)},
        {"also": "rows1"},
        {"also": "images"},
        {"also": "joined"},
        {"also": "weights"},
        {"side": 5},
        {"group": 2},
        {"dilations": [2, 2], "pads": [2] * 4},
    ],
    ids=["other order", "row", "image", "cells", "weights", "5 x 5", "groups", "dilated"],
)
def test_what_is_no_focus_of_yolox_stays(tmp_path: Path, change: dict[str, Any]) -> None:
    source = read_yolox(focused_yolox(tmp_path / "other.onnx", **change))
    assert "Slice" in operators(to_served(source, top_k=50))


def sliding_yolox(path: Path, form: str = "numbers") -> Path:
    """A file of 96 x 64 pixels each of whose cells tells of its own pixels alone; `form`: of its Reshapes' shapes."""
    random = np.random.default_rng(6)
    nodes, constants = [], {"turned": np.array([85, 1, -1]), "back": np.array([0, 2, 3, 1]), "end": np.array([2])}
    constants |= {"start": np.array([0]), "flat": np.array([-1])}
    for stride in (8, 16, 32):
        name, count = f"stride{stride}", 96 * 64 // stride**2
        constants[f"{name}.weight"] = random.normal(size=(85, 3, stride, stride)).astype(np.float32) / stride**2
        nodes.append(helper.make_node("Conv", ["images", f"{name}.weight"], [name], strides=[stride, stride]))
        if form == "measured":
            nodes.append(helper.make_node("Shape", [name], [f"{name}.sizes"]))
            nodes.append(helper.make_node("Slice", [f"{name}.sizes", "start", "end"], [f"{name}.kept"]))
            nodes.append(helper.make_node("Concat", [f"{name}.kept", "flat"], [f"{name}.shape"], axis=0))
        elif form == "nodes":
            shape = numpy_helper.from_array(np.array([1, 85, count]))
            nodes.append(helper.make_node("Constant", [], [f"{name}.shape"], value=shape))
        else:
            forms = {"any batch": [-1, 85, count], "as they come": [0, 85, -1]}
            constants[f"{name}.shape"] = np.array(forms.get(form, [1, 85, count]))
        nodes.append(helper.make_node("Reshape", [name, f"{name}.shape"], [f"{name}.row"]))
    cells = len(grid(64, 96)[1])
    nodes.append(helper.make_node("Concat", [f"stride{stride}.row" for stride in (8, 16, 32)], ["rows"], axis=2))
    if form == "bound":
        constants["more"] = random.normal(size=(1, 85, cells)).astype(np.float32)
        nodes.append(helper.make_node("Add", ["rows", "more"], ["last"]))
    else:
        nodes.append(helper.make_node("Reshape", ["rows", "turned"], ["columns"]))
        nodes.append(helper.make_node("Transpose", ["columns"], ["last"], perm=[1, 0, 2]))
    nodes.append(helper.make_node("Transpose", ["last"], ["output"], perm=[0, 2, 1]))
    onnx.save(saved_model(nodes, [1, 3, 64, 96], [1, cells, 85], constants), str(path))
    return path


@pytest.mark.parametrize("form", ["numbers", "any batch", "as they come", "nodes", "measured"])
@pytest.mark.parametrize(("frame", "size"), [((960, 320), (96, 32)), ((64, 128), (32, 64)), ((9, 6), (96, 64))])
def test_a_fitted_network_says_of_each_cell_what_the_whole_one_says(
    tmp_path: Path, form: str, frame: tuple[int, int], size: tuple[int, int]
) -> None:
    source = read_yolox(sliding_yolox(tmp_path / "sliding.onnx", form))
    before = source.model.SerializeToString()
    fitted = source.fitted_to(*frame)
    assert fitted is not None
    assert source.model.SerializeToString() == before
    assert (fitted.width, fitted.height) == size
    onnx.checker.check_model(fitted.model, full_check=True)
    images = np.random.default_rng(7).integers(0, 256, (64, 96, 3), np.uint8)
    (whole,) = run(source.model, source.input_of(images))
    (part,) = run(fitted.model, fitted.input_of(images[: size[1], : size[0]]))
    corners, strides = grid(64, 96)
    inside = ((corners + 1) * strides[:, None] <= size).all(axis=1)
    np.testing.assert_allclose(part[0], whole[0, inside], atol=1e-4)


def test_a_network_bound_to_its_input_is_not_cut(tmp_path: Path) -> None:
    source = read_yolox(sliding_yolox(tmp_path / "bound.onnx", "bound"))
    assert source.fitted_to(960, 320) is None


def test_the_published_nano_sees_the_same_people_without_the_padding(
    yolox_path: Path, real_frames: list[np.ndarray]
) -> None:
    source = read_yolox(yolox_path)
    seen = []
    for network in (source, source.fitted_to(768, 576)):
        model, canvas = to_served(network), np.empty((1, network.height, network.width, 3), np.uint8)
        fits = []
        for frame in real_frames:
            fit = letterbox(frame, canvas[0])
            boxes, scores, classes = (output[0] for output in run(model, canvas))
            fits.append(to_detections(boxes, scores, classes, fit, score_threshold=0.5))
        seen.append(fits)
    assert canvas.shape == (1, 320, 416, 3)
    for whole, fitted in zip(*seen, strict=True):
        assert len(fitted) == len(whole) > 0
        apart = np.abs(whole.xyxy[:, None] - fitted.xyxy).max(axis=2)
        apart[whole.class_ids[:, None] != fitted.class_ids] = np.inf
        assert np.median(apart.min(axis=1)) < 0.3
        assert apart.min(axis=1).max() < 8, "another of a person's cells may win"


def pyramid(*kernels: int, **attributes: object) -> onnx.ModelProto:
    """The planes beside what pools of `kernels` make of them; `attributes` are those of the last pool."""
    pools = []
    for number, side in enumerate(kernels):
        usual = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4, "strides": [1, 1]}
        told = usual | (attributes if number == len(kernels) - 1 else {})
        pools.append(helper.make_node("MaxPool", ["images"], [f"pooled{number}"], **told))
    merged = helper.make_node("Concat", ["images", *(node.output[0] for node in pools)], ["output"], axis=1)
    return saved_model([*pools, merged], [1, 2, 15, 20], [1, "all", "rows", "columns"], {})


def kernels_of(model: onnx.ModelProto) -> list[int]:
    return [each.ints[0] for node in model.graph.node for each in node.attribute if each.name == "kernel_shape"]


@pytest.mark.parametrize(
    ("kernels", "attributes", "expected"),
    [
        ((5, 9, 13), {}, [5, 5, 5]),
        ((3, 7), {}, [3, 5]),
        ((5, 5), {}, [5, 5]),
        ((9, 5), {}, [9, 5]),
        ((5, 9), {"pads": [4, 4, 4, 4], "ceil_mode": 0, "dilations": [1, 1]}, [5, 5]),
        ((5, 9), {"strides": [1, 1], "kernel_shape": [9, 7], "pads": [4, 3, 4, 3]}, [5, 9]),
        ((5, 9), {"kernel_shape": [9, 9], "pads": [8, 8, 0, 0]}, [5, 9]),
        ((5, 5), {"dilations": [2, 2], "pads": [4, 4, 4, 4]}, [5, 5]),
    ],
)
def test_pools_of_pools_change_no_bit(
    kernels: tuple[int, ...], attributes: dict[str, Any], expected: list[int]
) -> None:
    model = pyramid(*kernels, **attributes)
    planes = np.random.default_rng(3).normal(size=(1, 2, 15, 20)).astype(np.float32)
    (before,) = run(model, planes)
    pool_in_turn(model.graph)
    onnx.checker.check_model(model, full_check=True)
    assert kernels_of(model) == expected
    (after,) = run(model, planes)
    assert before.tobytes() == after.tobytes()


def test_pools_of_other_strides_stay() -> None:
    nodes = [
        helper.make_node("MaxPool", ["images"], ["one"], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]),
        helper.make_node("MaxPool", ["images"], ["half"], kernel_shape=[9, 9], pads=[4] * 4, strides=[2, 2]),
        helper.make_node("ReduceMax", ["half"], ["highest"]),
        helper.make_node("Add", ["one", "highest"], ["output"]),
    ]
    model = saved_model(nodes, [1, 2, 15, 20], [1, 2, 15, 20], {})
    before = model.SerializeToString()
    pool_in_turn(model.graph)
    assert model.SerializeToString() == before


def head(
    *,
    squashed: bool = True,
    shared: bool = False,
    rows: int = 5 + CLASSES,
    branch: bool = False,
    groups: int = 1,
    given: str = "",
) -> onnx.ModelProto:
    """YOLOX's head of two strides over planes of 8 x 12 and 4 x 6 cells, for 7 classes."""
    random = np.random.default_rng(4)
    nodes = [helper.make_node("MaxPool", ["images"], ["coarse"], kernel_shape=[2, 2], strides=[2, 2])]
    constants: dict[str, np.ndarray] = {}
    for level, features in enumerate(("images", "coarse")):
        for part, count in (("box", 4), ("object", 1), ("class", CLASSES)):
            names = [f"{part}{0 if shared else level}.{kind}" for kind in ("weight", "bias")]
            apart = groups if part == "class" else 1
            constants[names[0]] = random.normal(size=(count, 6 // apart, 1, 1)).astype(np.float32)
            constants[names[1]] = random.normal(size=count).astype(np.float32)
            nodes.append(helper.make_node("Conv", [features, *names], [f"{part}{level}"], group=apart))
            if part != "box":
                squash = "Sigmoid" if squashed else "Tanh"
                nodes.append(helper.make_node(squash, [f"{part}{level}"], [f"{part}{level}.score"]))
        parts = [f"box{level}", f"object{level}.score", f"class{level}.score"]
        nodes.append(helper.make_node("Concat", parts, [f"cells{level}"], axis=1))
        constants[f"shape{level}"] = np.array([1, rows, -1])
        nodes.append(helper.make_node("Reshape", [f"cells{level}", f"shape{level}"], [f"row{level}"]))
    nodes.append(helper.make_node("Concat", ["row0", "row1"], ["rows"], axis=2))
    nodes.append(helper.make_node("Transpose", ["rows"], ["output"], perm=[0, 2, 1]))
    if branch:
        constants["yes"] = np.array(True)
        same = helper.make_node("Identity", ["class1"], ["same"])
        inner = helper.make_graph([same], "inner", [], [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)])
        nodes.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=inner))
    model = saved_model(nodes, [1, 6, 8, 12], [1, "cells", "columns"], constants)
    if given:
        model.graph.input.append(helper.make_tensor_value_info(given, TensorProto.FLOAT, constants[given].shape))
    return model


def test_classes_that_nobody_asks_for_are_not_scored() -> None:
    model, chosen = head(), [5, 0, 2]
    planes = np.random.default_rng(5).normal(size=(1, 6, 8, 12)).astype(np.float32)
    (before,) = run(model, planes)
    assert keep_classes(model.graph, "output", chosen)
    onnx.checker.check_model(model, full_check=True)
    (after,) = run(model, planes)
    assert after.shape == (1, 8 * 12 + 4 * 6, 5 + len(chosen))
    wanted = before[..., [0, 1, 2, 3, 4, *(5 + number for number in chosen)]]
    assert after.tobytes() == np.ascontiguousarray(wanted).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"squashed": False},
        {"shared": True},
        {"rows": 24},
        {"branch": True},
        {"groups": 2},
        {"given": "class1.weight"},
        {"given": "class0.bias"},
    ],
    ids=["another activation", "shared weights", "other rows", "a branch", "grouped", "weights given", "bias given"],
)
def test_heads_of_another_kind_score_all(change: dict[str, Any]) -> None:
    model = head(**change)
    before = model.SerializeToString()
    assert not keep_classes(model.graph, "output", [0, 1])
    assert model.SerializeToString() == before
