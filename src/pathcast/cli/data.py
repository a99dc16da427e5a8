"""`pathcast data`: labelled images checked, converted, corrected and looked at."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.label_classes import CLASSES, chosen_classes
from pathcast.cli.output_file import file_option, write_json

if TYPE_CHECKING:
    from pathcast.detection.labelled import LabelledImages

app = typer.Typer(name="data", no_args_is_help=True, help="Labelled images: check, convert, correct, draw.")


class LabelFormat(StrEnum):
    """Label formats that are written."""

    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"
    MOT = "mot"


SOURCE = typer.Argument(..., help="COCO JSON, or a folder of YOLO text, Pascal VOC, a MOT sequence or masks.")
WORK = typer.Option(Path("frames"), file_okay=False, help="Folder for the frames of a sequence that is a video.")


@app.command("check", epilog="Example: pathcast data check coco128 --json faults.json")
def check(
    source: Path = SOURCE,
    work: Path = WORK,
    classes: str = CLASSES,
    json: Path | None = file_option("Also write every fault to this file."),
) -> None:
    """Look at every file: unreadable images and labels, boxes empty or outside, the same box or image twice.

    Ends with 1 where something is wrong. Blurred, dark and repeated frames are listed and are no fault.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import Progress

    from pathcast.detection.labelled import UNREADABLE
    from pathcast.detection.quality import unfit, validate

    faults, hints, images = [], [], 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for labelled in _read(source, work, classes, go_on=True):
            images += len(labelled)
            bar = progress.add_task("checking", total=len(labelled))
            found = validate(labelled, lambda name, bar=bar: progress.advance(bar))  # type: ignore[misc]
            faults += found
            unreadable = {fault.name for fault in found if fault.kind == UNREADABLE}
            hints += unfit(labelled.where(lambda image, bad=unreadable: image.name not in bad))  # type: ignore[misc]
    console = Console()
    for fault in faults:
        console.print(str(fault.error()), markup=False, highlight=False, soft_wrap=True)
    for hint in hints:
        console.print(f"{hint.name}: {hint.kind} ({hint.detail})", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{images} images, {len(faults)} faults, {len(hints)} not worth learning from")
    if json is not None:
        report = {
            "images": images,
            "faults": [asdict(each) for each in faults],
            "unfit": [asdict(each) for each in hints],
        }
        write_json(json, report)
    if faults:
        raise typer.Exit(1)


@app.command("convert", epilog="Example: pathcast data convert labels/labels.json --to yolo --output yolo")
def convert(
    source: Path = SOURCE,
    to: LabelFormat = typer.Option(..., help="The format to write."),
    output: Path = typer.Option(..., file_okay=False, help="Folder for the labels and a copy of the images."),
    work: Path = WORK,
    classes: str = CLASSES,
) -> None:
    """Write labels in another format, with the images where that format wants them.

    Several sets become one, or, as MOT, a sequence for each camera. Boxes that the format cannot say are counted.
    """
    from rich.console import Console

    from pathcast.training import conversion

    count, left_out = conversion.convert(_read(source, work, classes), to.value, output)
    without = ", ".join(f"{boxes} {reason}" for reason, boxes in left_out.items() if boxes)
    said = f"; left out, since {to.value} cannot say them: {without}" if without else ""
    Console().print(f"{output}: {count} images as {to.value}{said}", markup=False, highlight=False, soft_wrap=True)


@app.command("correct", epilog="Example: pathcast data correct labels/labels.json --by cvat.json")
def correct(
    labels: Path = typer.Argument(..., help="The COCO JSON that was handed out."),
    by: Path = typer.Option(..., help="The COCO JSON that came back from CVAT or Label Studio."),
    output: Path | None = file_option("Where to write the result; default: over the labels."),
    json: Path | None = file_option("Also write what changed to this file."),
) -> None:
    """Take back what people made of the labels; images that they did not return keep theirs.

    Images are known by their names, with or without folders. Boxes of the returned images are people's now: they
    carry no teacher's score, and none is ignored unless they said so.
    """
    from rich.console import Console

    from pathcast.detection.coco_json import read_coco, write_coco
    from pathcast.detection.corrections import corrected
    from pathcast.detection.labelled import said_of_other_classes

    returned = read_coco(by)
    merged, counts = corrected(read_coco(labels), returned)
    write_coco(output or labels, merged)
    others = said_of_other_classes(returned.about)
    Console().print(
        f"{output or labels}: {counts['images']} images corrected; boxes {counts['kept']} kept, "
        f"{counts['changed']} moved or renamed, {counts['added']} added, {counts['removed']} removed"
        f"{f'; left out, {others}' if others else ''}",
        markup=False,
        highlight=False,
    )
    write_json(json, counts)


@app.command("sheet", epilog="Example: pathcast data sheet labels/labels.json --augmented --output sheet.png")
def sheet(
    source: Path = SOURCE,
    output: Path = typer.Option(Path("sheet.png"), dir_okay=False, help="The picture to write."),
    augmented: bool = typer.Option(False, help="As training varies them, instead of as they are."),
    count: int = typer.Option(16, min=1, max=100, help="How many images at most."),
    seed: int = typer.Option(1, min=0, help="Seed of the choice and of the variations."),
    work: Path = WORK,
    classes: str = CLASSES,
) -> None:
    """Draw images with their boxes; ignored ones are grey."""
    from rich.console import Console

    from pathcast.training.detector_sheet import draw_sheet

    drawn = draw_sheet(_read(source, work, classes), output, vary=augmented, count=count, seed=seed)
    Console().print(f"{output}: {drawn} images", markup=False, highlight=False)


@app.command("weights", epilog="Example: pathcast data weights yolox_nano.onnx --size nano --output nano")
def weights(
    file: Path = typer.Argument(..., help="A published YOLOX ONNX file with COCO's 80 classes, or a served detector."),
    size: str | None = typer.Option(
        None, help="Of a published file: nano (the default), tiny, small, medium, large or xlarge."
    ),
    embedding: int = typer.Option(
        0, min=0, help="Add to a published file a fresh branch for appearance vectors of this length."
    ),
    output: Path = typer.Option(..., file_okay=False, help="Folder for weights.npz and model.json."),
) -> None:
    """A file's weights as a folder to export anew or to start from: `pathcast train detector --init FOLDER`."""
    from rich.console import Console

    from pathcast.training.backend import use_tensorflow

    use_tensorflow()
    from pathcast.core.errors import InvalidInputError
    from pathcast.detection.served_graph import is_served
    from pathcast.training.detector import published_weights, served_weights

    served = is_served(file)
    if served and (size is not None or embedding):
        option = f"--embedding {embedding}" if size is None else f"--size {size}"
        raise InvalidInputError(
            f"{option}: expected a file that YOLOX publishes, {file} is a served detector",
            hint="leave it out: a served file says its own size, and keeps the branches that it has",
        )
    size = "nano" if size is None else size
    (served_weights(file) if served else published_weights(file, size, embedding)).save(output)
    said = "weights of a served detector" if served else f"YOLOX {size}"
    Console().print(f"{output}: {said}, ready for --init", markup=False, highlight=False)


def _read(source: Path, work: Path, classes: str, *, go_on: bool = False) -> list[LabelledImages]:
    from functools import partial

    from pathcast.training.recordings import read_recordings

    note = partial(typer.echo, err=True)
    return read_recordings(source, work, class_of=chosen_classes(classes), note=note, go_on=go_on)
