"""Small clips of two actions, told apart by what moves: a square that wanders, and one that stays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

from pathcast.export.triton_config import ServingOptions, render_config


def moving_square(seed: int, *, moves: bool, frames: int = 8, side: int = 32) -> np.ndarray:
    """(frames, side, side, 3): a bright square on a grey pattern of its own, seen by a camera with a little noise."""
    random = np.random.default_rng(seed)
    pattern = cv2.resize(random.integers(40, 140, (4, 4), dtype=np.uint8), (side, side))
    clip = np.repeat(pattern[None, :, :, None], 3, axis=3).repeat(frames, axis=0)
    size = side // 4
    left, top = random.integers(0, side - size, 2)
    for frame in clip:
        if moves:
            left, top = random.integers(0, side - size, 2)
        frame[top : top + size, left : left + size] = 230
    return np.clip(clip + random.normal(0, 2, clip.shape), 0, 255).astype(np.uint8)


def write_strip(path: Path, clip: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(list(clip), axis=1), cv2.COLOR_RGB2BGR))


def write_video(path: Path, clip: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, height, width, _ = clip.shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (width, height))
    assert writer.isOpened()
    for frame in clip:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def write_strips(root: Path, each: int = 12) -> Path:
    """Two classes of `each` strips, PNG."""
    for index in range(each):
        write_strip(root / "wander" / f"w{index:02d}.png", moving_square(index, moves=True))
        write_strip(root / "stay" / f"s{index:02d}.png", moving_square(100 + index, moves=False))
    return root


def write_brightness_model(folder: Path, frames: int = 4, side: int = 16) -> Path:
    """A served file of the actions signature: how bright a clip is, and its frames; with its configuration."""
    clips = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", frames, side, side, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("probabilities", 2), ("frame_scores", frames))
    ]
    constants = [
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
    ]
    nodes = [
        helper.make_node("Cast", ["frames"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["values", "white"], ["shares"]),
        helper.make_node("ReduceMean", ["shares"], ["frame_scores"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("ReduceMean", ["frame_scores"], ["bright"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["bright", "dark"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(nodes, "brightness", [clips], outputs, constants)
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    options = ServingOptions(parameters={"class_names": "bright,dark", "window_s": "1"})
    (folder / "config.pbtxt").write_text(render_config("actions", path, options))
    return path
