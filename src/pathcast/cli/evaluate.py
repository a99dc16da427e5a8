"""`pathcast evaluate FAMILY`: how good a model is on data with known answers; here the detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.label_classes import CLASSES, chosen_classes
from pathcast.cli.output_file import file_option, write_json

if TYPE_CHECKING:
    from pathcast.core.arrays import UInt8Array
    from pathcast.detection.average_precision import DetectorScores, GroundTruth
    from pathcast.detection.classes import ClassOf

    Labelled = Iterator[tuple[UInt8Array, GroundTruth]]
    Run = Callable[[UInt8Array], dict[str, Any]]

app = typer.Typer(name="evaluate", no_args_is_help=True, help="Score a model on data with known answers.")


@app.callback()
def evaluate() -> None:
    """Score a model on data with known answers."""


@app.command("detector", epilog="Example: pathcast evaluate detector --data coco128 --model detector/1/model.onnx")
def evaluate_detector(
    data: Path = typer.Option(
        ...,
        help="COCO JSON; or a folder with one: YOLO's text layout (images/, labels/), Pascal VOC, masks of moving "
        "objects, or a MOT sequence (seqinfo.ini, gt/) and its video.",
    ),
    camera: str | None = typer.Option(None, help="The images of this camera alone."),
    classes: str = CLASSES,
    model: Path | None = typer.Option(None, help="A served-signature ONNX file; without it, what Triton serves."),
    name: str | None = typer.Option(None, help="Without --model: the served model's name; default: detector."),
    score_threshold: float = typer.Option(0.001, min=0, max=1, help="Weaker detections are left out."),
    nms_iou: float = typer.Option(0.65, min=0, max=1, help="Overlap from which the weaker of two boxes goes."),
    threads: int = typer.Option(0, min=0, help="CPU threads for a file; 0: one per core."),
    state_dir: Path = typer.Option(
        Path(".pathcast"), file_okay=False, help="The local platform's state, to find Triton."
    ),
    plots: Path | None = typer.Option(
        None, file_okay=False, help="Folder for curves of precision and recall, and confusions."
    ),
    json: Path | None = file_option("Write the scores to this file."),
) -> None:
    """Score a detector by COCO's average precision, over the classes that the data has.

    Time per image is letterbox, inference and decoding, one image at a time.
    """
    import time

    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import InvalidInputError
    from pathcast.detection.average_precision import average_precision
    from pathcast.detection.postprocess import to_detections
    from pathcast.detection.preprocess import letterbox

    if name and model is not None:
        raise InvalidInputError("--name and --model: expected one of the two")
    total, labelled, left_out = _read(data, camera, chosen_classes(classes))
    run, height, width = _from_triton(name or "detector", state_dir) if model is None else _from_file(model, threads)
    batch = np.empty((1, height, width, 3), np.uint8)
    run(batch)
    found, truth, seconds = [], [], 0.0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for image, boxes in progress.track(labelled, total=total, description="detecting"):
            started = time.perf_counter()
            fit = letterbox(image, batch[0])
            out = run(batch)
            detections = to_detections(
                out["boxes"][0],
                out["scores"][0],
                out["classes"][0],
                fit,
                score_threshold=score_threshold,
                nms_iou=nms_iou,
            )
            seconds += time.perf_counter() - started
            found.append(detections)
            truth.append(boxes)
    scores = average_precision(found, truth)
    ms_per_image = 1000 * seconds / len(found)
    _print(scores, len(found), ms_per_image, f"score ≥ {score_threshold:g}, NMS IoU {nms_iou:g}")
    if plots is not None:
        from pathcast.training.detector_pictures import write_plots

        write_plots(plots, found, truth)
    if json is not None:
        measured = {
            "map50_95": scores.map50_95,
            "map50": scores.map50,
            "classes": {key: {"ap50": value.ap50, "ap50_95": value.ap50_95} for key, value in scores.classes.items()},
            "ms_per_image": ms_per_image,
            "images": len(found),
            "boxes_left_out": left_out,
            "score_threshold": score_threshold,
            "nms_iou": nms_iou,
            "model": str(model or name),
        }
        write_json(json, measured)


def _read(data: Path, camera: str | None, class_of: ClassOf) -> tuple[int, Labelled, Mapping[str, int] | None]:
    """How many images there are, these with their boxes, and how many boxes were left out, by their class.

    A set says that as a whole, so for one camera it is None.
    """
    from functools import partial

    from pathcast.core.errors import InvalidInputError
    from pathcast.tracking.mot_format import SEQUENCE_FILE
    from pathcast.training.recordings import read_recordings

    note = partial(typer.echo, err=True)
    sequences = sorted(path.parent for path in data.rglob(SEQUENCE_FILE))
    if len(sequences) == 1 and camera is None:
        return _read_sequence(sequences[0], class_of, note)
    # Frames are written for sequences alone.
    sets = [] if sequences else read_recordings(data, data, class_of=class_of, note=note)
    if len(sets) != 1:
        raise InvalidInputError(
            f"{data}: expected one set of labels, or one MOT sequence without --camera, found {len(sequences or sets)}",
            hint="name the file or the folder of one",
        )
    labelled = sets[0].where(lambda image: camera is None or image.camera == camera)
    if camera is not None and not len(labelled):
        cameras = sorted({image.camera for image in sets[0]})
        raise InvalidInputError(
            f"{data}: expected images of camera {camera}, got those of {', '.join(cameras) or 'none'}"
        )
    left_out = labelled.about.get("other_classes", {}) if camera is None else None
    return len(labelled), ((labelled.read(image), image.truth()) for image in labelled), left_out


def _read_sequence(
    folder: Path, class_of: ClassOf, note: Callable[[str], None]
) -> tuple[int, Labelled, Mapping[str, int]]:
    """As `_read`, of a MOT sequence whose frames are a video in its folder or beside it."""
    from pathcast.core.errors import InvalidInputError
    from pathcast.core.video import VIDEO_SUFFIXES, decode
    from pathcast.detection.average_precision import sequence_truth
    from pathcast.detection.labelled import other_classes, tell_other_classes
    from pathcast.detection.mot_classes import OTHER, object_classes
    from pathcast.tracking.mot_format import TRUTH_FILE, read_boxes, read_sequence_info

    info = read_sequence_info(folder)
    boxes = read_boxes(folder / TRUTH_FILE, length=info.length, identified=True)
    classes = object_classes(folder / "gt", boxes.classes, class_of)
    tell_other_classes(folder, other_classes(classes.others), int((classes.class_ids != OTHER).sum()), note)
    truth = sequence_truth(boxes, info.length, classes)
    videos = [path for place in (folder, folder.parent) for path in sorted(place.iterdir())]
    video = next((path for path in videos if path.suffix.lower() in VIDEO_SUFFIXES), None)
    if video is None:
        raise InvalidInputError(f"{folder}: expected a video of the sequence here or in {folder.parent}, found none")

    def frames() -> Labelled:
        images = decode(video)
        for number, boxes in enumerate(truth, start=1):
            image = next(images, None)
            if image is None:
                raise InvalidInputError(f"{video}: expected {info.length} frames, it ends before frame {number}")
            yield image, boxes

    return info.length, frames(), classes.others


def _from_file(path: Path, threads: int) -> tuple[Run, int, int]:
    from pathcast.serving.local_models import open_session, read_model, require_tensors
    from pathcast.serving.remote_models import SIGNATURES

    detector = SIGNATURES["detector"]
    session, outputs = open_session(path, read_model(path), threads), detector.outputs
    require_tensors(path, session, detector)
    _, height, width, _ = session.get_inputs()[0].shape
    return lambda images: dict(zip(outputs, session.run(outputs, {"images": images}), strict=True)), height, width


def _from_triton(name: str, state_dir: Path) -> tuple[Run, int, int]:
    from pathcast.core.settings import load_settings
    from pathcast.serving.triton_client import TritonClient

    settings = load_settings(state_dir)
    client = TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory)
    _, height, width, _ = client.metadata(name).inputs["images"].shape
    return lambda images: client.infer(name, {"images": images}).outputs, height, width


def _print(scores: DetectorScores, images: int, ms_per_image: float, rules: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"detector on {images} images ({rules}), {ms_per_image:.1f} ms per image")
    table.add_column("class")
    for heading in ("AP50", "AP50-95"):
        table.add_column(heading, justify="right")
    for key, value in scores.classes.items():
        table.add_row(key, f"{value.ap50:.3f}", f"{value.ap50_95:.3f}")
    table.add_section()
    table.add_row("mean", f"{scores.map50:.3f}", f"{scores.map50_95:.3f}")
    Console().print(table)
