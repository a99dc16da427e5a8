"""Frames a second of a batch run, and of Ultralytics' `track` with the same network on the same video."""

from __future__ import annotations

import os
import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathcast.core.camera import Camera
from pathcast.core.errors import PathcastError
from pathcast.detection.grid import grid
from pathcast.serving.batch.run import BatchSettings, run_batch
from pathcast.serving.batch.videos import open_video
from pathcast.serving.local_models import ConstantVelocity, FileDetector, FileForecaster
from pathcast.tracking.settings import TrackerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from pathcast.detection.yolox_import import YoloxFile

_HINT = "pip install 'pathcast[yolo]' (AGPL-3.0)"
_CLASSES = 80


@dataclass(slots=True)
class Spent:
    """Frames, and what they took: seconds by the clock, and of all processors, child processes included."""

    frames: int = 0
    seconds: float = 0.0
    processor_s: float = field(default=0.0)

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds

    @property
    def processor_ms(self) -> float:
        """Per frame."""
        return 1e3 * self.processor_s / self.frames


def run_ours(video: Path, detector: Path, forecaster: Path | None, out: Path, *, annotate: bool) -> Spent:
    """A whole run of `pathcast batch` into the new folder `out`; the models are loaded before, by the first frame."""
    models = FileDetector(detector), ConstantVelocity() if forecaster is None else FileForecaster(forecaster)
    names = tuple(f"{each.model} {each.version}" for each in models)
    settings = BatchSettings(Camera("bench"), datetime(2026, 1, 1, tzinfo=UTC), names, TrackerSettings(), annotate)
    opened, spent = open_video(video), Spent()
    models[0].detect(list(islice(opened.frames(), 1)))
    with _counted(spent):
        spent.frames = int(run_batch(opened, out, *models, settings)["frames"])
    models[0].close()
    return spent


def run_ultralytics(video: Path, model: Path, out: Path, *, annotate: bool) -> Spent:
    """`YOLO(model).track(video)` from its second frame on, when everything is loaded; it writes below `out`.

    Raises PathcastError where Ultralytics is not installed.
    """
    # Importing it would otherwise try to install what it lacks, by itself.
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise PathcastError("Ultralytics' track: the extra `yolo` is not installed", hint=_HINT) from error
    options: dict[str, Any] = {"stream": True, "save": annotate, "project": str(out), "device": "cpu", "verbose": False}
    results = YOLO(str(model), task="detect").track(str(video), tracker="bytetrack.yaml", **options)
    next(results)
    spent = Spent()
    with _counted(spent):
        spent.frames = sum(1 for _ in results)
    return spent


def as_ultralytics_reads_it(source: YoloxFile) -> onnx.ModelProto:
    """A YOLOX file with the signature of Ultralytics' detectors, so that both run the same network.

    `images` float [1, 3, H, W], RGB in [0, 1] → `output0` [1, 4 + classes, cells]: centre and size in input pixels,
    and the score of each class.
    """
    from onnx import TensorProto, compose, helper, numpy_helper

    corners, strides = grid(source.height, source.width)
    constants = {
        "byte": np.array(255, np.float32),
        "bgr": np.array([2, 1, 0]),
        "parts": np.array([2, 2, 1, _CLASSES]),
        "corners": corners[None],
        "strides": strides[None, :, None],
    }
    steps: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("Gather", "images bgr", "turned", {"axis": 1}),
        ("Mul", "turned byte", "pixels", {}),
        ("Split", "raw parts", "offsets logs objectness classes", {"axis": 2}),
        ("Add", "offsets corners", "cells", {}),
        ("Mul", "cells strides", "centres", {}),
        ("Exp", "logs", "spans", {}),
        ("Mul", "spans strides", "sizes", {}),
        ("Mul", "objectness classes", "scores", {}),
        ("Concat", "centres sizes scores", "rows", {"axis": 2}),
        ("Transpose", "rows", "output0", {"perm": [0, 2, 1]}),
    )
    inner = compose.add_prefix(source.model, "yolox/")
    outside = {"pixels": f"yolox/{source.input_name}", "raw": f"yolox/{source.output_name}"}
    nodes = [
        helper.make_node(
            operator,
            [outside.get(name, name) for name in given.split()],
            [outside.get(name, name) for name in found.split()],
            **attributes,
        )
        for operator, given, found, attributes in steps
    ]
    graph = helper.make_graph(
        [*nodes[:2], *inner.graph.node, *nodes[2:]],
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, source.height, source.width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + _CLASSES, len(strides)])],
        [*inner.graph.initializer, *(numpy_helper.from_array(value, name) for name, value in constants.items())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    names = {index: str(index) for index in range(_CLASSES)}
    told = {"stride": "32", "task": "detect", "batch": "1", "imgsz": str([source.height, source.width])}
    helper.set_model_props(model, {**told, "names": str(names)})
    return model


@contextmanager
def _counted(spent: Spent) -> Iterator[None]:
    began, before = time.perf_counter(), _processor_s()
    yield
    spent.seconds, spent.processor_s = time.perf_counter() - began, _processor_s() - before


def _processor_s() -> float:
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
