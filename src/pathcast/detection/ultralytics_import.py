"""An Ultralytics detector, exported to ONNX, as the platform's served detector.

YOLOv5u, v8, 11 and 26 export, without their own suppression, one tensor [1, 4 + classes, cells]: centre and size in
input pixels, then the classes' probabilities; the class names stand in the file's metadata
(https://docs.ultralytics.com/modes/export). Ultralytics' models are AGPL-3.0.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, class_id_of
from pathcast.detection.served_graph import Cells, Wiring, enclosed, load_onnx, shape_of
from pathcast.detection.settings import TOP_K

NAMES, SIZE = "names", "imgsz"
_STRIDES = (8, 16, 32)
_HINT = "export it with dynamic=True and without nms; a .pt is exported so by `pathcast models import`"


@dataclass(frozen=True, slots=True)
class UltralyticsFile:
    """A checked graph; `columns` and `class_ids`: which of its classes are which of the platform's."""

    model: onnx.ModelProto
    input_name: str
    output_name: str
    width: int
    height: int
    columns: tuple[int, ...]
    class_ids: tuple[int, ...]

    @property
    def cells(self) -> int:
        """The number of candidate boxes."""
        return sum((self.width // stride) * (self.height // stride) for stride in _STRIDES)

    def input_of(self, image: UInt8Array) -> npt.NDArray[np.float32]:
        """Planes (1, 3, h, w), RGB, 0 to 1."""
        return np.ascontiguousarray(image[None].transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)

    def cells_of(self, raw: npt.NDArray[np.float32]) -> Cells:
        """Planes (4 + classes, a) decoded."""
        rows = raw.T.astype(np.float64)
        scores = rows[:, [4 + column for column in self.columns]]
        if scores.min() < 0 or scores.max() > 1:
            raise InvalidInputError(
                f"output {self.output_name!r}: expected class probabilities in [0, 1], got {scores.min():.3g} to "
                f"{scores.max():.3g}",
                hint=_HINT,
            )
        half_sizes = rows[:, 2:4] / 2
        boxes = np.concatenate([rows[:, :2] - half_sizes, rows[:, :2] + half_sizes], axis=1)
        return boxes, scores, np.array(self.class_ids)


def is_ultralytics(path: Path) -> bool:
    """Whether an ONNX file says of itself that it is one of theirs."""
    try:
        return any(entry.key == NAMES for entry in onnx.load(str(path), load_external_data=False).metadata_props)
    except Exception:  # whatever it is, it is none of theirs
        return False


def read_ultralytics(path: Path) -> UltralyticsFile:
    """Load and check a file; raises InvalidInputError where it is none, or knows none of the platform's classes."""
    model, given, raw = load_onnx(path, _HINT)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    try:
        names = {int(index): str(name) for index, name in dict(ast.literal_eval(facts[NAMES])).items()}
        height, width = (int(size) for size in ast.literal_eval(facts[SIZE]))
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        raise InvalidInputError(
            f"{path}: expected metadata {NAMES} and {SIZE} as Ultralytics writes them: {error!r}", hint=_HINT
        ) from error
    sizes = shape_of(raw)
    planes = 4 + len(names)
    if len(sizes) != 3 or (isinstance(sizes[1], int) and sizes[1] != planes) or height % 32 or width % 32:
        raise InvalidInputError(
            f"{path}: output {raw.name!r}: expected [1, {planes}, cells] of an input divisible by 32, got {sizes} of "
            f"{width}x{height}",
            hint=_HINT,
        )
    found = ((column, class_id_of(name)) for column, name in sorted(names.items()))
    known = [(column, class_id) for column, class_id in found if class_id is not None]
    if not known:
        raise InvalidInputError(f"{path}: expected classes among {', '.join(CLASS_NAMES)}, got {list(names.values())}")
    columns, class_ids = zip(*known, strict=True)
    return UltralyticsFile(model, given.name, raw.name, width, height, columns, class_ids)


def to_served(source: UltralyticsFile, *, top_k: int = TOP_K) -> onnx.ModelProto:
    """The served graph (`enclosed`) of the classes that the platform knows."""
    top_k = min(top_k, source.cells)
    before = Wiring(source, {"levels": np.array(255, np.float32)})
    before.add("Transpose", "images", "planes", perm=[0, 3, 1, 2])
    before.add("Cast", "planes", "floats", to=onnx.TensorProto.FLOAT)
    before.add("Div", "floats levels", "input")
    constants = {
        "centre_rows": np.array([0, 1], np.int64),
        "size_rows": np.array([2, 3], np.int64),
        "class_rows": np.array([4 + column for column in source.columns], np.int64),
    }
    after = Wiring(source, constants)
    after.add("Gather", "raw centre_rows", "centres", axis=1)
    after.add("Gather", "raw size_rows", "sizes", axis=1)
    after.add("Gather", "raw class_rows", "probabilities", axis=1)
    after.add("ReduceMax", "probabilities", "cell_scores_plane", axes=[1], keepdims=1)
    after.add("ArgMax", "probabilities", "best_class", axis=1, keepdims=0)
    after.best_cells(top_k, source.class_ids)
    return enclosed(source, before, after, top_k)
