"""A YOLOX ONNX file as the platform's served detector.

YOLOX (Ge et al., 2021, arXiv:2107.08430) exported with `decode_in_inference=False` gives one row per grid cell: box
offsets, objectness and class probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, COCO_CLASS_IDS
from pathcast.detection.grid import grid
from pathcast.detection.preprocess import fitted_input
from pathcast.detection.served_graph import Cells, Wiring, enclosed, load_onnx, shape_of
from pathcast.detection.settings import STRIDES, TOP_K
from pathcast.detection.yolox_graph import convolve_focus, keep_classes, pool_in_turn, slide_over

COCO_CLASSES = 80
_ROW = 5 + COCO_CLASSES
_HINT = "export YOLOX with `python tools/export_onnx.py` and without --decode_in_inference"


@dataclass(frozen=True, slots=True)
class YoloxFile:
    """A checked YOLOX graph: names of its input and raw output, its input size in pixels."""

    model: onnx.ModelProto
    input_name: str
    output_name: str
    width: int
    height: int

    def input_of(self, image: UInt8Array) -> npt.NDArray[np.float32]:
        """Planes (1, 3, h, w), BGR, 0 to 255."""
        return np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32)

    def cells_of(self, raw: npt.NDArray[np.float32]) -> Cells:
        """Rows (a, 85) decoded."""
        rows = raw.astype(np.float64)
        if rows[:, 4:].min() < 0 or rows[:, 4:].max() > 1:
            raise InvalidInputError(
                f"output {self.output_name!r}: expected objectness and class probabilities in [0, 1], "
                f"got {rows[:, 4:].min():.3g} to {rows[:, 4:].max():.3g}",
                hint="export YOLOX with the sigmoids in its head",
            )
        # Raw offsets are a few cells; decoded centres are spread over the whole image.
        typical = float(np.median(np.abs(rows[:, :2])))
        if typical > self.width / 8:
            raise InvalidInputError(
                f"output {self.output_name!r}: expected raw offsets within their cells, got {typical:.0f} typically",
                hint="export YOLOX without --decode_in_inference",
            )
        corners, strides = grid(self.height, self.width)
        centres = (rows[:, :2] + corners) * strides[:, None]
        half_sizes = np.exp(rows[:, 2:4]) * strides[:, None] / 2
        scores = rows[:, 4:5] * rows[:, [5 + coco_id for coco_id in COCO_CLASS_IDS]]
        boxes = np.concatenate([centres - half_sizes, centres + half_sizes], axis=1)
        return boxes, scores, np.arange(len(CLASS_NAMES))

    def fitted_to(self, frame_width: int, frame_height: int) -> YoloxFile | None:
        """The same network over an input of these frames' shape (`fitted_input`); None where it takes its own only."""
        width, height = fitted_input(frame_width, frame_height, self.width, self.height)
        model = slide_over(self.model, self.input_name, self.output_name, height, width)
        return None if model is None else replace(self, model=model, width=width, height=height)


def read_yolox(path: Path) -> YoloxFile:
    """Load and check a YOLOX ONNX file with COCO's 80 classes.

    Raises InvalidInputError when the file cannot be read, or is not a YOLOX with one float input
    [1, 3, H, W] and one raw grid output [1, H/8·W/8 + H/16·W/16 + H/32·W/32, 85].
    """
    model, given, raw = load_onnx(path, _HINT)
    sizes = shape_of(given)
    height, width = sizes[2], sizes[3]
    if not isinstance(height, int) or not isinstance(width, int) or height % STRIDES[-1] or width % STRIDES[-1]:
        raise InvalidInputError(
            f"{path}: input {given.name!r}: expected a fixed height and width divisible by {STRIDES[-1]}, got {sizes}",
            hint=_HINT,
        )
    rows = len(grid(height, width)[1])
    found = shape_of(raw)
    if len(found) != 3 or found[1:] != [rows, _ROW]:
        raise InvalidInputError(
            f"{path}: output {raw.name!r}: expected [1, {rows}, {_ROW}] for YOLOX with {COCO_CLASSES} classes "
            f"at {width}x{height}, got {found}",
            hint=_HINT,
        )
    return YoloxFile(model, given.name, raw.name, width, height)


def to_served(source: YoloxFile, *, top_k: int | None = None) -> onnx.ModelProto:
    """The served graph (`enclosed`); scores are objectness x probability of the best of the platform's classes.

    `top_k` is TOP_K, or all cells of an input that has less.
    """
    corners, strides = grid(source.height, source.width)
    top_k = min(TOP_K, len(strides)) if top_k is None else top_k
    if not 0 < top_k <= len(strides):
        raise InvalidInputError(f"top_k: expected 1 to {len(strides)}, the grid's cells, got {top_k}")
    quick = onnx.ModelProto()
    quick.CopyFrom(source.model)
    pool_in_turn(quick.graph)
    kept = COCO_CLASS_IDS if keep_classes(quick.graph, source.output_name, COCO_CLASS_IDS) else range(COCO_CLASSES)
    turned = {} if convolve_focus(quick, source.input_name) else {"bgr_of_rgb": np.array([2, 1, 0], np.int64)}
    source = replace(source, model=quick)
    before = Wiring(source, turned)
    # The shuffles run on bytes, a quarter of the traffic of floats.
    before.add("Transpose", "images", "planes", perm=[0, 3, 1, 2])
    if turned:
        before.add("Gather", "planes bgr_of_rgb", "bgr", axis=1)
    before.add("Cast", "bgr" if turned else "planes", "input", to=onnx.TensorProto.FLOAT)
    constants: dict[str, npt.NDArray[Any]] = {
        "corners": corners.T[None],
        "strides": strides[None, None],
        "class_rows": np.array([5 + kept.index(coco_id) for coco_id in COCO_CLASS_IDS], np.int64),
        "parts": np.array([2, 2, 1, len(kept)], np.int64),
    }
    after = Wiring(source, constants)
    after.add("Transpose", "raw", "rows", perm=[0, 2, 1])
    after.add("Split", "rows parts", "offsets log_sizes objectness all_classes", axis=1)
    after.add("Gather", "rows class_rows", "probabilities", axis=1)
    after.add("ReduceMax", "probabilities", "best_probability", axes=[1], keepdims=1)
    after.add("ArgMax", "probabilities", "best_class", axis=1, keepdims=0)
    after.add("Mul", "objectness best_probability", "cell_scores_plane")
    after.add("Add", "offsets corners", "centres_in_cells")
    after.add("Mul", "centres_in_cells strides", "centres")
    after.add("Exp", "log_sizes", "sizes_in_cells")
    after.add("Mul", "sizes_in_cells strides", "sizes")
    after.best_cells(top_k, range(len(CLASS_NAMES)))
    return enclosed(source, before, after, top_k)
