"""Whether the served detector still says what the original file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.detection.classes import COCO_CLASS_IDS
from pathcast.detection.grid import grid
from pathcast.detection.preprocess import letterbox
from pathcast.detection.yolox_import import YoloxFile

BOX_TOLERANCE_PX = 0.05
SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences over `frames` frames from the original, decoded outside its graph.

    `source` says what the frames were. `batch_identical`: frames in one batch gave, bit for bit, what
    they gave one by one.
    """

    frames: int
    source: str
    max_box_difference_px: float
    max_score_difference: float
    batch_identical: bool

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.frames} frames ({self.source}) within {self.max_box_difference_px:.2g} px and "
            f"{self.max_score_difference:.2g} of the source"
        )

    def require(self) -> None:
        """Raise GateFailedError unless boxes are within 0.05 px, scores within 1e-4, and batches exact."""
        within = self.max_box_difference_px <= BOX_TOLERANCE_PX and self.max_score_difference <= SCORE_TOLERANCE
        if not (within and self.batch_identical):
            raise GateFailedError(
                f"the served detector differs from its source: expected boxes within {BOX_TOLERANCE_PX} px, scores "
                f"within {SCORE_TOLERANCE} and exact batches, got {asdict(self)}",
                hint="the file may use operators that the conversion changes; export it again with opset 11 to 17",
            )


def noise_frames(count: int = 4) -> list[UInt8Array]:
    """Frames of coarse coloured noise, the same on every call; for a check where no real frames are at hand."""
    random = np.random.default_rng(20260101)
    blocks = random.integers(0, 256, (count, 18, 24, 3), dtype=np.uint8)
    return [np.ascontiguousarray(block.repeat(32, axis=0).repeat(32, axis=1)) for block in blocks]


def check_parity(original: YoloxFile, served: bytes, images: Sequence[UInt8Array], source: str) -> Parity:
    """Run both graphs on RGB `images` (h, w, 3) and compare; raise InvalidInputError if the original is not raw.

    The original runs frame by frame and is decoded here in float64, so nothing of the served graph is trusted.
    """
    batch = np.empty((len(images), original.height, original.width, 3), np.uint8)
    for row, image in enumerate(images):
        letterbox(image, batch[row])
    served_session = _session(served)
    original_session = _session(original.model.SerializeToString())
    together = served_session.run(["boxes", "scores", "classes"], {"images": batch})
    box_difference = score_difference = 0.0
    identical = True
    for row in range(len(batch)):
        alone = served_session.run(["boxes", "scores", "classes"], {"images": batch[row : row + 1]})
        identical &= all(np.array_equal(one[0], many[row]) for one, many in zip(alone, together, strict=True))
        bgr = np.ascontiguousarray(batch[row : row + 1, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        (raw,) = original_session.run([original.output_name], {original.input_name: bgr})
        differences = _differences(*_decode(raw[0], original), *(output[row] for output in together))
        box_difference, score_difference = np.maximum((box_difference, score_difference), differences).tolist()
    return Parity(len(batch), source, box_difference, score_difference, identical)


def _decode(
    raw: npt.NDArray[np.float32], original: YoloxFile
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Boxes (a, 4) in input pixels and scores (a, 6) of every grid cell."""
    rows = raw.astype(np.float64)
    if rows[:, 4:].min() < 0 or rows[:, 4:].max() > 1:
        raise InvalidInputError(
            f"output {original.output_name!r}: expected objectness and class probabilities in [0, 1], "
            f"got {rows[:, 4:].min():.3g} to {rows[:, 4:].max():.3g}",
            hint="export YOLOX with the sigmoids in its head",
        )
    # Raw offsets are a few cells; decoded centres are spread over the whole image.
    typical = float(np.median(np.abs(rows[:, :2])))
    if typical > original.width / 8:
        raise InvalidInputError(
            f"output {original.output_name!r}: expected raw offsets within their cells, got {typical:.0f} typically",
            hint="export YOLOX without --decode_in_inference",
        )
    corners, strides = grid(original.height, original.width)
    centres = (rows[:, :2] + corners) * strides[:, None]
    half_sizes = np.exp(rows[:, 2:4]) * strides[:, None] / 2
    scores = rows[:, 4:5] * rows[:, [5 + coco_id for coco_id in COCO_CLASS_IDS]]
    return np.concatenate([centres - half_sizes, centres + half_sizes], axis=1), scores


def _differences(
    all_boxes: npt.NDArray[np.float64],
    all_scores: npt.NDArray[np.float64],
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
) -> tuple[float, float]:
    """Largest box difference, each served box against the cell nearest to it, and largest score difference.

    Scores are compared there and, so that no better cell was left out, with the best of all cells in order.
    """
    distances = np.abs(all_boxes[None] - boxes[:, None]).max(axis=2)
    nearest = distances.argmin(axis=1)
    at_cell = np.abs(all_scores[nearest, classes] - scores).max()
    best = np.sort(all_scores.max(axis=1))[::-1][: len(scores)]
    return float(distances[np.arange(len(boxes)), nearest].max()), float(max(at_cell, np.abs(best - scores).max()))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
