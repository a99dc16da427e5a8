"""`pathcast bench detector`: a detector's time beside another's and its own in eight bits, and what those cost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.label import SHIPPED
from pathcast.cli.output_file import file_option

_DATA = Path(os.environ.get("PATHCAST_DATA", "../shared/data"))
_HALVES = {"val": 0.08, "test": 0.5, "gap_s": 1}
"""The cut by which the shipped detector learned: it has not seen what it is judged on."""


@app.command("detector", epilog="Example: pathcast bench detector --beside yolox_nano.onnx --json detector.json")
def bench_detector(
    model: Path = typer.Option(SHIPPED, help="A served file in float32; default: what comes with the project."),
    beside: Path = typer.Option(
        _DATA / "models" / "yolox_nano.onnx", help="The file to set it beside, served or as YOLOX publishes it."
    ),
    data: Path = typer.Option(
        _DATA / "pets09_s2l1",
        help="Labelled recordings: the first half gives the scales of eight bits, the rest judges",
    ),
    rounds: int = typer.Option(200, min=3, help="Requests of each file, in turns; the median and the fastest count."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Milliseconds of processor time a request of one image on one thread, each at its own input size, in turns.

    Where eight bits lose more than a point of average precision, the command ends with 1 after its figures.
    """
    import numpy as np

    from pathcast.detection.served_graph import is_served
    from pathcast.detection.yolox_import import read_yolox, to_served
    from pathcast.export.quantize import quantise_detector, side_by_side
    from pathcast.training.detector import prepare_images
    from pathcast.training.detector_data import read_prepared

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_images(data, folder, _HALVES)
        small = quantise_detector(model, read_prepared(folder, "train"), read_prepared(folder, "test"))
    other: Path | bytes = beside
    if not is_served(beside):
        other = to_served(read_yolox(beside)).SerializeToString()
    times = side_by_side(other, model, small.model.SerializeToString(), runs=rounds)
    rows = []
    for kind, of in (("median", np.median), ("fastest", np.min)):
        first, own, eight = (float(of(each)) for each in times)
        names = [f"{name}, {kind}" for name in (beside.stem, "/".join(model.parts[-3:]), "in eight bits")]
        rows.append(Row(names[0], first, "ms"))
        rows.append(Row(names[1], own, "ms", names[0], own / first))
        rows.append(Row(names[2], eight, "ms", names[1], eight / own))
    rows.append(Row("AP50, float32", small.map50_before, "fraction"))
    rows.append(Row("AP50, eight bits", small.map50, "fraction", "AP50, float32", small.map50 / small.map50_before))
    report(f"detector, one thread, judged on {data.name}", rows, json)
    small.require_accepted()
