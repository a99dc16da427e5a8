"""From another project's detector, YOLOX or Ultralytics, to a served one."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import read_image
from pathcast.core.settings import PlatformSettings
from pathcast.core.video import IMAGE_SUFFIXES, decode_evenly
from pathcast.detection import ultralytics_import
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.parity import Parity, check_parity, noise_frames
from pathcast.detection.served_graph import ForeignDetector, shape_of
from pathcast.detection.yolox_import import read_yolox, to_served
from pathcast.export.triton_config import ServingOptions, check_config, render_config
from pathcast.registry.publishing import publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.repository import PublishedModel
from pathcast.registry.shipped import noise
from pathcast.registry.ultralytics import SUFFIX, export_ultralytics

PARITY_FRAMES = 8
_YOLOX = "YOLOX; published weights, trained on COCO 2017 by their authors (Apache-2.0)"
_ULTRALYTICS = "Ultralytics YOLO, its own training; AGPL-3.0, and so is what is served from it"


@dataclass(frozen=True, slots=True)
class ImportedDetector:
    """A detector in the served signature, checked against its source, ready to be published."""

    model: str
    onnx_path: Path
    config_pbtxt: str
    card: str
    parity: Parity
    input_size: tuple[int, int]


def convert_detector(
    source: Path,
    folder: Path,
    *,
    model: str = "detector",
    frames: Path | None = None,
    frame_size: tuple[int, int] | None = None,
) -> ImportedDetector:
    """Convert a file into `folder`/model.onnx and check it on `frames` (a video or a folder of images).

    Files are YOLOX's ONNX, Ultralytics' ONNX and, where the package is installed, Ultralytics' `.pt`. The input of
    a YOLOX is cut to the shape of frames of `frame_size`, width and height. Without `frames` the result is checked on
    noise, and the card says so. Raises InvalidInputError where the file is none of these or cannot be cut,
    GateFailedError where the converted graph differs from it.
    """
    original, served, origin = _converted(source, frame_size)
    images = noise_frames() if frames is None else read_frames(frames, PARITY_FRAMES)
    parity = check_parity(original, served.SerializeToString(), images, "noise" if frames is None else frames.name)
    parity.require()
    path = folder / "model.onnx"
    onnx.save(served, str(path))
    (top_k,) = (shape_of(output)[1] for output in served.graph.output if output.name == "scores")
    config = render_config(model, path, ServingOptions(parameters={"class_names": ",".join(CLASS_NAMES)}))
    check_config(config, path)
    return ImportedDetector(
        model,
        path,
        config,
        _card(source, origin, (original.width, original.height), top_k, parity),
        parity,
        (original.width, original.height),
    )


def _converted(source: Path, frame_size: tuple[int, int] | None) -> tuple[ForeignDetector, onnx.ModelProto, str]:
    """The checked original, its served graph, and what the card says of its origin."""
    ultralytics = source.suffix == SUFFIX or ultralytics_import.is_ultralytics(source)
    if ultralytics and frame_size is not None:
        raise InvalidInputError(
            f"{source}: only a YOLOX can be cut to the shape of frames", hint="export it with imgsz=(HEIGHT, WIDTH)"
        )
    if source.suffix == SUFFIX:
        with tempfile.TemporaryDirectory() as folder:
            exported = ultralytics_import.read_ultralytics(export_ultralytics(source, Path(folder)))
        return exported, ultralytics_import.to_served(exported), _ULTRALYTICS
    if ultralytics:
        theirs = ultralytics_import.read_ultralytics(source)
        return theirs, ultralytics_import.to_served(theirs), _ULTRALYTICS
    published = read_yolox(source)
    original = published if frame_size is None else published.fitted_to(*frame_size)
    if original is None:
        raise InvalidInputError(
            f"{source}: its graph works for inputs of {published.width}x{published.height} only",
            hint="export it for an input of the frames' shape",
        )
    return original, to_served(original), _YOLOX


def write_detector(
    source: Path,
    repository: Path,
    *,
    model: str = "detector",
    frames: Path | None = None,
    frame_size: tuple[int, int] | None = None,
) -> ImportedDetector:
    """Convert a file into `repository`/`model` in Triton's layout, as version 1; no server is needed."""
    folder = repository / model
    (folder / "1").mkdir(parents=True, exist_ok=True)
    detector = convert_detector(source, folder / "1", model=model, frames=frames, frame_size=frame_size)
    (folder / "README.md").write_text(detector.card, encoding="utf-8")
    (folder / "config.pbtxt").write_text(detector.config_pbtxt, encoding="utf-8")
    return detector


def import_detector(
    settings: PlatformSettings,
    source: Path,
    *,
    model: str = "detector",
    frames: Path | None = None,
    frame_size: tuple[int, int] | None = None,
) -> PublishedModel:
    """Convert, register, publish, load and smoke-test another project's file on the platform."""
    with tempfile.TemporaryDirectory() as folder:
        detector = convert_detector(source, Path(folder), model=model, frames=frames, frame_size=frame_size)
        width, height = detector.input_size
        given = Registration(
            onnx_path=detector.onnx_path,
            card=detector.card,
            metrics={
                "parity_max_box_difference_px": detector.parity.max_box_difference_px,
                "parity_max_score_difference": detector.parity.max_score_difference,
            },
            parameters={"source": source.name, "input_width": width, "input_height": height},
            tags={"source_sha256": hashlib.sha256(source.read_bytes()).hexdigest()},
            example=noise(detector.onnx_path),
        )
        return publish_model(settings, model, given, detector.config_pbtxt)


def read_frames(path: Path, count: int) -> list[UInt8Array]:
    """`count` RGB frames spread evenly over a video, or the first images of a folder."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)[:count]
        images = [read_image(file) for file in files]
    else:
        images = list(decode_evenly(path, count))
    found = [image for image in images if image is not None]
    if not found:
        raise InvalidInputError(f"frames {path}: expected a video or a folder of images, none could be read")
    return found


def _card(source: Path, origin: str, input_size: tuple[int, int], top_k: int | str, parity: Parity) -> str:
    width, height = input_size
    return f"""# detector, imported from {source.name}

| | |
|---|---|
| source | `{source.name}`, SHA-256 `{hashlib.sha256(source.read_bytes()).hexdigest()}` |
| architecture | {origin} |
| input | `images` UINT8 [n, {height}, {width}, 3], RGB, letterboxed to the top left, grey 114 |
| output | `boxes` xyxy in input pixels, `scores`, `classes`; the best {top_k} per image, before NMS |
| classes | {", ".join(CLASS_NAMES)} |
| checked on | {parity.frames} frames ({parity.source}) |
| largest difference from the source | {parity.max_box_difference_px:.2g} px, score {parity.max_score_difference:.2g} |
| one by one against batched | {"identical" if parity.batch_identical else "different"} |

Classes outside people and vehicles are left out. Expect small and crowded people to be seen poorly.
"""
