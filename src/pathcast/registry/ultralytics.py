"""Ultralytics' own files (`.pt`), through the package `ultralytics`: AGPL-3.0, and installed by those who want it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError

SUFFIX = ".pt"
_SIZE = 640


def open_ultralytics(file: Path, threads: int = 0) -> Any:
    """The package's `YOLO` of a detector's file, on so many CPU threads (0: its own choice).

    A `.pt` is a pickle and runs what is in it: open only files that you trust. Raises InvalidInputError where the
    package or the file is missing, or the file is no detector.
    """
    # Else it installs what it misses by itself.
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        import torch
        from ultralytics import YOLO
    except ImportError as error:
        raise InvalidInputError(
            f"{file}: an Ultralytics model needs the package ultralytics (AGPL-3.0), which is not installed: {error}",
            hint="pip install 'pathcast[yolo]', or use a detector's ONNX file",
        ) from error
    if not file.is_file():
        # The package would look for the name on the internet.
        raise InvalidInputError(f"{file}: no such file", hint="give the path of an Ultralytics .pt file")
    if threads:
        torch.set_num_threads(threads)
    try:
        model = YOLO(str(file))
    except Exception as error:  # pickles fail in every way
        raise InvalidInputError(f"{file}: not a model that ultralytics loads: {error}") from error
    if model.task != "detect":
        raise InvalidInputError(f"{file}: expected a detector, got a model for the task {model.task}")
    return model


def export_ultralytics(file: Path, folder: Path) -> Path:
    """The model as ONNX in `folder`, at the input size that it was trained for, without suppression in the graph."""
    copy = folder / file.name
    open_ultralytics(file)
    # The package writes beside the file that it has read.
    shutil.copyfile(file, copy)
    model = open_ultralytics(copy)
    size = int(getattr(model.model, "args", {}).get("imgsz") or _SIZE)
    # YOLO26 and later choose the best boxes in the graph unless they are told not to.
    plain = {"end2end": False} if getattr(model.model, "end2end", False) else {}
    try:
        written = model.export(
            format="onnx", imgsz=size, opset=17, dynamic=True, simplify=False, device="cpu", verbose=False, **plain
        )
    except Exception as error:  # torch's and the package's own errors share no base class
        raise InvalidInputError(f"{file}: ultralytics could not export it: {error}") from error
    return Path(written)
