"""ONNX files on disk. Whoever only stores models needs no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import onnx


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write the file in one step: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(partial, path)
