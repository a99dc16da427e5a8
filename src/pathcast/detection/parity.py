"""Whether the served detector still says what the original file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import GateFailedError
from pathcast.detection.preprocess import letterbox
from pathcast.detection.served_graph import ForeignDetector

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


def check_parity(original: ForeignDetector, served: bytes, images: Sequence[UInt8Array], source: str) -> Parity:
    """Run both graphs on RGB `images` (h, w, 3) and compare; raise InvalidInputError if the original is not raw.

    The original runs frame by frame and is decoded in float64, so nothing of the served graph is trusted.
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
        given = {original.input_name: original.input_of(batch[row])}
        (raw,) = original_session.run([original.output_name], given)
        differences = _differences(*original.cells_of(raw[0]), *(output[row] for output in together))
        box_difference, score_difference = np.maximum((box_difference, score_difference), differences).tolist()
    return Parity(len(batch), source, box_difference, score_difference, identical)


def _differences(
    all_boxes: npt.NDArray[np.float64],
    all_scores: npt.NDArray[np.float64],
    class_ids: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
) -> tuple[float, float]:
    """Largest box difference, each served box against the cell nearest to it, and largest score difference.

    Scores are compared there and, so that no better cell was left out, with the best of all cells in order.
    """
    distances = np.abs(all_boxes[None] - boxes[:, None]).max(axis=2)
    nearest = distances.argmin(axis=1)
    column = np.array([int(np.flatnonzero(class_ids == each)[0]) for each in classes])
    at_cell = np.abs(all_scores[nearest, column] - scores).max()
    best = np.sort(all_scores.max(axis=1))[::-1][: len(scores)]
    at_rank = np.abs(best - scores).max()
    return float(distances[np.arange(len(boxes)), nearest].max()), float(np.maximum(at_cell, at_rank))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
