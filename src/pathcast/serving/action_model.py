"""Actions in clips and over a whole video, from a served file or from Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.export.triton_config import parse_config
from pathcast.recognition.action_settings import FRAMES, PROBABILITIES, SCORES
from pathcast.recognition.frame_quality import positions
from pathcast.serving.local_models import open_session, read_model, require_tensors
from pathcast.serving.remote_models import SIGNATURES


class ActionFile:
    """A served file, with the facts that its configuration states: `classes`, and `window_s`, what a clip covers."""

    def __init__(self, onnx_file: Path, threads: int = 1) -> None:
        self._file, config_file = onnx_file, onnx_file.absolute().parent.parent / "config.pbtxt"
        for path in (onnx_file, config_file):
            if not path.is_file():
                raise InvalidInputError(f"{path}: no such file", hint="give MODEL/1/model.onnx of an exported model")
        parameters = parse_config(config_file.read_text(encoding="utf-8")).parameters
        if not {"class_names", "window_s"} <= set(parameters):
            raise InvalidInputError(
                f"{config_file}: expected the parameters class_names and window_s of an action model"
            )
        self.classes = tuple(parameters["class_names"].string_value.split(","))
        self.window_s = float(parameters["window_s"].string_value)
        self._session = open_session(onnx_file, read_model(onnx_file), threads)
        require_tensors(onnx_file, self._session, SIGNATURES["actions"])
        _, self.frames, self.size, _, _ = self._session.get_inputs()[0].shape
        said = self._session.get_outputs()[0].shape[1]
        if said != len(self.classes):
            raise InvalidInputError(
                f"{onnx_file}: expected {len(self.classes)} classes of its configuration, got {said}"
            )

    def __call__(self, clips: UInt8Array) -> Float32Array:
        """Probabilities (n, c) of clips (n, t, s, s, 3) RGB."""
        return self.with_scores(clips)[0]

    def with_scores(self, clips: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Probabilities (n, c), and how much each frame has to say (n, t)."""
        said, scores = self._session.run([PROBABILITIES, SCORES], {FRAMES: clips})
        return said, scores

    def fitted(self, frames: UInt8Array) -> UInt8Array:
        """As many of the frames (n, s, s, 3) as a clip has, spread evenly; some twice where there are less."""
        return frames[positions(len(frames), self.frames)]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of a video: what is done in it by `probabilities` (c,), and the times of the frames that told."""

    start_s: float
    end_s: float
    probabilities: Float32Array
    selected_s: tuple[float, ...]


class ActionModel(Protocol):
    """What `actions_over_time` asks of a model; `ActionFile` is one."""

    window_s: float
    frames: int
    size: int

    def with_scores(self, clips: UInt8Array) -> tuple[Float32Array, Float32Array]: ...


def actions_over_time(
    frames: Iterator[UInt8Array],
    frames_per_second: float,
    model: ActionModel,
    *,
    step_s: float,
    told_by: int = 3,
    name: str = "video",
    on_frame: Callable[[], None] = lambda: None,
) -> Iterator[Window]:
    """What is done in windows of the model's length, one each `step_s`, of the frames (h, w, 3) RGB of a video.

    A video shorter than a window is one window; the last frames that fill none are left out. `told_by` is the number
    of frames to name. Raises InvalidInputError, with the video's `name`, where there are less than two frames.
    """
    length, step = (max(1, round(seconds * frames_per_second)) for seconds in (model.window_s, step_s))
    held: list[UInt8Array] = []
    first, windows, left_out = 0, 0, 0
    for frame in frames:
        on_frame()
        if left_out:
            left_out -= 1
            continue
        held.append(cv2.resize(frame, (model.size, model.size), interpolation=cv2.INTER_AREA))
        if len(held) == length:
            yield _window(held, first, frames_per_second, model, told_by)
            windows += 1
            held, first, left_out = held[step:], first + step, max(step - length, 0)
    if not windows:
        if len(held) < 2:
            raise InvalidInputError(
                f"{name}: expected two frames or more, got {len(held)}",
                hint="an action takes time: give a video, or a folder of its frames",
            )
        yield _window(held, first, frames_per_second, model, told_by)


def _window(held: list[UInt8Array], first: int, rate: float, model: ActionModel, told_by: int) -> Window:
    rows = positions(len(held), model.frames)
    probabilities, scores = model.with_scores(np.stack([held[row] for row in rows])[None])
    best = sorted({first + int(rows[row]) for row in np.argsort(-scores[0], kind="stable")[:told_by]})
    times = tuple(number / rate for number in best)
    return Window(first / rate, (first + len(held)) / rate, probabilities[0], times)
